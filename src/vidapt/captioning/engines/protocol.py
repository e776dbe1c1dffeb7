"""What captions of many clips need of whoever writes them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from vidapt.errors import BrokenClip, VidaptError
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.video import Meter
from vidapt.video.choose import Policy


@dataclass(frozen=True, slots=True)
class Words:
    """One answer.

    Attributes:
        text: Its words.
        tokens: How many it has, without the mark that ends it; None where that is not told.
        ended: Whether it ended by itself.
        logprob: Mean natural logarithm of its tokens' probabilities; None where that is not told.
        read: Tokens that were read before it, where whoever wrote it tells.
        money: What it cost; None where no price is known.
    """

    text: str
    tokens: int | None
    ended: bool
    logprob: float | None = None
    read: int | None = None
    money: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a clip.

    Attributes:
        times_s: Seconds of the frames, from the first frame of the file.
        visual_tokens: Tokens that the clip became; None where that is not told.
        notes: What decoding had to say.
    """

    times_s: tuple[float, ...]
    visual_tokens: int | None
    notes: tuple[str, ...]


Seen = TypeVar("Seen")


WINDOW = 4
"""Times as many clips as are answered at a time are given to an engine at once, so that as some end others
take their places. What is killed within is captioned again as a whole: with the same clips given, in the same
order, the model computes the same bits."""

HELD = 2 * WINDOW
"""Clips that are held for each that is answered: while one window is, the next one is looked at."""


class CaptionEngine(Protocol[Seen]):
    """Looks at clips, and answers questions about them; `Seen` is what it keeps of a clip in between."""

    @property
    def name(self) -> str:
        """What to call it in rows."""

    @property
    def card(self) -> Mapping[str, Any]:
        """Where it came from."""

    @property
    def fingerprint(self) -> str:
        """Hash of the model."""

    @property
    def settings(self) -> list[Any]:
        """What else answers depend on beside clip, question and decoding, as plain values."""

    @property
    def frames(self) -> Policy | None:
        """Which moments are looked at, where that is known."""

    def together(self, answers: int, tokens: int) -> int:
        """How many clips are answered at a time.

        Args:
            answers: That each of them gets.
            tokens: Of the longest question and of the longest answer.
        """

    def text_tokens(self, question: str) -> int:
        """How long a question is.

        Raises:
            BudgetError: If it is longer than can be read.
        """

    def watch(
        self,
        batches: Iterable[Sequence[Clip]],
        *,
        workers: int,
        ahead: int,
        beside: int,
        meter: Meter,
        stop: Future[None],
    ) -> Generator[list[Seen | BrokenClip], None, None]:
        """See clips batch by batch, in order, in a thread that may be another than the one that answers.

        Args:
            batches: Taken before they are needed.
            workers: Decoding processes.
            ahead: Most clips decoded before they are needed.
            beside: Tokens of text that are read with each.
            meter: Is told of waiting for frames.
            stop: Once it has a result nothing is waited for any more, and no more comes.
        """

    def look(self, seen: Seen) -> Look:
        """What was seen of a clip."""

    def answer(
        self, asked: Sequence[tuple[Seen, Sequence[str]]], decoding: Decoding, places: int
    ) -> list[list[Words] | VidaptError]:
        """Answer questions about clips.

        Args:
            asked: Clips, and what is asked about each.
            decoding: How tokens are chosen.
            places: Clips that are answered at a time.

        Returns:
            For each clip an answer to each question; or what is wrong, which costs no other clip anything.

        Raises:
            VidaptError: If nothing will be answered any more.
        """

    def seconds(self, read: float, new: float, places: int, answers: int) -> float | None:
        """What a clip takes at least, by what the device can do; None where that is not known.

        Args:
            read: Tokens of a clip and of the text with it.
            new: Tokens written about it.
            places: Clips that are answered at a time.
            answers: About each clip.
        """

    def close(self) -> None:
        """Let go of what is held."""
