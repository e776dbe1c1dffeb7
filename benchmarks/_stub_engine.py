"""An engine that looks at no pixel: what it says follows from the content of a clip and the question."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt.captioning.engines.protocol import Look, Words
from vidapt.digests import seed_of
from vidapt.errors import BrokenClip, VidaptError
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Layout, Moments

TOKENS = 4
_BROKEN = 0


@dataclass
class StubEngine:
    """A `captioning.engines.protocol.CaptionEngine`.

    Attributes:
        name: As rows have it.
        fingerprint: What tells it from other models.
        pause_s: Seconds that a batch takes.
        asked: Questions that were answered so far.
    """

    name: str = "stub"
    fingerprint: str = "stub"
    pause_s: float = 0.0
    asked: int = 0
    card: dict[str, Any] = field(default_factory=dict)
    side: int | None = None
    frames: None = None

    @property
    def settings(self) -> list[Any]:
        """How small pictures are made."""
        return [self.side]

    def together(self, answers: int, tokens: int) -> int:
        """As many as a small model on a processor."""
        return max(1, 32 // answers)

    def text_tokens(self, question: str) -> int:
        """Words."""
        return len(question.split())

    def watch(
        self, batches: Iterable[Sequence[Clip]], *, ahead: int, **options: Any
    ) -> Generator[list[SeenClip | BrokenClip], None, None]:
        """As the engine's: batches are taken before they are needed. Empty files are broken."""
        waiting: deque[Sequence[Clip]] = deque()
        for batch in batches:
            if batch:
                waiting.append(batch)
            if sum(map(len, waiting)) > ahead:
                yield self._see(waiting.popleft())
        while waiting:
            yield self._see(waiting.popleft())

    def _see(self, batch: Sequence[Clip]) -> list[SeenClip | BrokenClip]:
        time.sleep(self.pause_s)
        seen: list[SeenClip | BrokenClip] = []
        for clip in batch:
            if clip.path.is_file() and clip.path.stat().st_size == _BROKEN:
                seen.append(BrokenClip(clip.path, "the file has zero bytes"))
            else:
                times = (clip.start_s + 0.5, clip.start_s + 1.5)
                seen.append(SeenClip(clip, [0.0] * 3, _LAYOUT, times, Moments(times, 2.0), ()))  # type: ignore[arg-type]
        return seen

    def look(self, seen: SeenClip) -> Look:
        """Moments, and three tokens."""
        return Look(seen.times_s, len(seen.tokens), seen.notes)

    def answer(
        self, asked: Sequence[tuple[SeenClip, Sequence[str]]], decoding: Decoding, places: int
    ) -> list[list[Words] | VidaptError]:
        """Numbers that follow from clips and questions."""
        return [[self._said(seen.clip, question) for question in questions] for seen, questions in asked]

    def seconds(self, read: float, new: float, places: int, answers: int) -> None:
        """Nothing bounds it."""

    def close(self) -> None:
        """Nothing is held."""

    def _said(self, clip: Clip, question: str) -> Words:
        self.asked += 1
        seed = seed_of(clip.id, clip.start_s, clip.end_s, question)
        numbers = [seed >> shift & 0xFFFF for shift in range(0, 16 * TOKENS, 16)]
        return Words(" ".join(map(str, numbers)), TOKENS, True, -0.5)


_LAYOUT: Layout = None  # type: ignore[assignment]
