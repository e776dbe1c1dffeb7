"""A model that is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from vidapt.captioning.engines.protocol import HELD, Words
from vidapt.captioning.engines.watching import Watching
from vidapt.errors import BrokenClip, VidaptError
from vidapt.inference.apart import apart
from vidapt.inference.limit import Limit
from vidapt.inference.room import rows_at_a_time
from vidapt.inference.several import Reply, Several
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Answer, Decoding

Replied = tuple[list[Words], list[str], list[str]]
"""Answers, what each is an answer to, and the example that stood before it."""


class Builtin(Watching):
    """Answers by a model of this process; answers of different lengths take one another's places.

    Args:
        engine: The model.
    """

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.engine.fingerprint

    def together(self, answers: int, tokens: int) -> int:
        """As many as there is memory for."""
        return max(1, rows_at_a_time(self.engine, tokens, HELD / answers) // answers)

    def answer(
        self, asked: Sequence[tuple[SeenClip, Sequence[str]]], decoding: Decoding, places: int
    ) -> list[list[Words] | VidaptError]:
        """Answer questions; clips of which something fails are answered apart until the one is alone."""
        each = max((len(questions) for _, questions in asked), default=1)
        posed = [((seen,), list(questions)) for seen, questions in asked]

        def ask(some: Sequence[int]) -> list[list[Words]]:
            found = self.engine.answer([posed[at] for at in some], decoding, places=places * each)
            return [[self._words(answer) for answer in answers] for answers in found]

        return apart(ask, range(len(posed)))

    def several(
        self, sound: Sequence[SeenClip], several: Several, places: int
    ) -> list[Replied | VidaptError]:
        """Several answers to one question about each clip."""

        def ask(some: Sequence[int]) -> list[Replied | VidaptError]:
            found = several.replies(self.engine, [(sound[at],) for at in some], places * several.n)
            return [one if isinstance(one, BrokenClip) else self._replied(one) for one in found]

        return apart(ask, range(len(sound)))

    def _replied(self, replies: Sequence[Reply]) -> Replied:
        words = [self._words(reply.answer) for reply in replies]
        return words, [reply.question for reply in replies], [reply.cue for reply in replies]

    def seconds(self, read: float, new: float, places: int, answers: int) -> float | None:
        """By the products and the bytes that it takes; the device's speed is measured once."""
        return None if self._limit is None else self._limit.seconds(read, new, places * answers, answers)

    @cached_property
    def _limit(self) -> Limit | None:
        try:
            return Limit.of(self.engine)
        except Exception:  # noqa: BLE001 - a report of how fast a job is must not end it
            return None

    def close(self) -> None:
        """The model goes with whoever opened it."""

    def _words(self, answer: Answer) -> Words:
        return Words(self.engine.text(answer), len(answer.ids), answer.ended, answer.logprob)
