"""Answers being written, token by token, which others may join at any token.

A decoding step costs a device about the same whether it is for few rows or for many, since weights are read
once for all of them. A row that has ended therefore gives its place to the next question at once (continuous
batching: Yu et al. 2022, "Orca"), and is not waited for by those that it began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidapt.models.decoding import Answer, Decoding, Told
from vidapt.models.reading import Asked, Lead, can_share, read_rows
from vidapt.models.rows import Rows
from vidapt.models.sampling import Allowed, draw, scaled, temperatures
from vidapt.models.video_lm import VideoLM

_ENDED_SHARE = 8
"""Rows that have ended are taken out, which copies the others, once they are one in so many."""


@dataclass(eq=False)
class Writing:
    """An answer on its way.

    Attributes:
        number: What `told` calls it.
        most: Its longest length.
        decoding: How its tokens are chosen.
        seed: Of its sampling.
        ids: Its tokens so far.
        ended: Whether it ended by itself.
        total: Sum of the natural logarithms of the probabilities of its tokens.
    """

    number: int
    most: int
    decoding: Decoding
    seed: int
    ids: list[int] = field(default_factory=list)
    ended: bool = False
    total: float = 0.0
    _stream: torch.Generator | None = None

    @property
    def answer(self) -> Answer:
        """What was written."""
        return Answer(tuple(self.ids), self.ended, self.total / (len(self.ids) + self.ended))

    @property
    def stream(self) -> torch.Generator:
        """Where its chances come from: no other answer draws from it."""
        if self._stream is None:
            self._stream = torch.Generator().manual_seed(self.seed)
        return self._stream

    def begin_again(self) -> None:
        """Forget what was written."""
        self.ids, self.ended, self.total, self._stream = [], False, 0.0, None


class Running:
    """Answers that a model writes together.

    Args:
        model: In evaluation mode.
        stops: Token ids that end an answer.
        told: Is told every token as it is written, and may end an answer there.
        share: Remember each prefix once for all answers behind it, which is less to read where there are
            several, and a detour where there is one.
    """

    def __init__(
        self, model: VideoLM, stops: Sequence[int], told: Told | None = None, *, share: bool = False
    ) -> None:
        self._share = share and can_share(model)
        self._model, self._stops, self._told = model, frozenset(stops), told
        self._rows: Rows | None = None
        self._logits = torch.empty(0)
        self._lead: Lead | None = None
        self._written: list[Writing | None] = []

    @property
    def alive(self) -> list[Writing]:
        """Answers that have not ended."""
        return [one for one in self._written if one is not None]

    @torch.inference_mode()
    def join(self, asked: Sequence[Asked], answers: Sequence[Writing]) -> None:
        """Read questions, whose answers are written from the next step on.

        Args:
            asked: What is asked.
            answers: One for each answer there is to be, in order.

        Raises:
            RuntimeError: As torch does, such as without memory. If none are `alive` then, those that were
                have to begin again.
        """
        rows, logits, self._lead = read_rows(self._model, asked, self._lead, share=self._share)
        if self._rows is None:
            self._rows, self._logits, self._written = rows, logits, list(answers)
            return
        kept = self._places(self._alive_places())
        try:
            self._rows.regroup(kept, rows)
        except BaseException:
            self.clear()  # some layers may have been regrouped, and others not
            raise
        self._logits = torch.cat([self._logits[kept], logits])
        self._written = [*self.alive, *answers]

    @torch.inference_mode()
    def step(self) -> list[Writing]:
        """Write a token of every answer; returns those that have ended."""
        assert self._rows is not None
        tokens = self._chosen()
        ended = self._note(tokens)
        going = self._alive_places()
        if not going:
            self.clear()
        else:
            if (len(self._written) - len(going)) * _ENDED_SHARE >= len(self._written):
                index = self._places(going)
                self._rows.regroup(index)
                tokens, self._written = tokens[index], list(self.alive)
            self._logits = self._rows.step(self._model, tokens)
        return ended

    def clear(self) -> None:
        """Let go of all answers."""
        self._rows, self._logits, self._written = None, torch.empty(0), []

    def _alive_places(self) -> list[int]:
        return [place for place, one in enumerate(self._written) if one is not None]

    def _places(self, places: Sequence[int]) -> Tensor:
        return torch.tensor(places, device=self._logits.device)

    def _note(self, tokens: Tensor) -> list[Writing]:
        """Add the tokens to their answers; those that end leave their places empty."""
        logs = self._logits.float().log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        # One transfer for both: every number of a token is exact in float64.
        pairs = torch.stack([tokens.double(), logs.double()]).tolist()
        ended = []
        for place, (one, token, log) in enumerate(zip(self._written, *pairs, strict=True)):
            if one is not None and not self._add(one, int(token), log):
                ended.append(one)
                self._written[place] = None
        return ended

    def _add(self, one: Writing, token: int, log: float) -> bool:
        """Add a token; says whether the answer goes on."""
        one.total += log
        if token in self._stops:
            one.ended = True
            return False
        one.ids.append(token)
        wanted = self._told is None or self._told(one.number, token)
        return wanted and len(one.ids) < one.most

    def _chosen(self) -> Tensor:
        """[B, vocabulary] logits to [B] tokens; every answer draws from a stream of its own."""
        tokens = self._logits.argmax(-1)
        manners: dict[Decoding, list[int]] = {}
        for place, one in enumerate(self._written):
            if one is not None and not one.decoding.greedy:
                manners.setdefault(one.decoding.manner, []).append(place)
        for manner, places in manners.items():
            index = self._places(places)
            tokens[index] = _drawn(self._logits[index], manner, [self._written[place] for place in places])
        return tokens


def _drawn(logits: Tensor, manner: Decoding, answers: Sequence[Writing | None]) -> Tensor:
    """Tokens of answers that are drawn in one manner."""
    drawing = [one for one in answers if one is not None]
    wide = logits.double()
    heat = temperatures(wide, [len(one.ids) for one in drawing], manner.temperature, manner.heat)
    allowed = Allowed(manner.top_p, manner.min_p, manner.top_h)
    return draw(allowed(scaled(wide, heat)), [one.stream for one in drawing])
