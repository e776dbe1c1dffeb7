"""An engine that looks at no pixel: what it says follows from the content of a clip and the question."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt.digests import seed_of
from vidapt.errors import BrokenClip
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Answer, Decoding
from vidapt.nouns import Clip, Layout, Moments

TOKENS = 4
_BROKEN = 0


@dataclass
class StubEngine:
    """Stands for `inference.engine.Engine` where a store is asked for, and nothing else.

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
    clip_tokens: int = 8

    def text_tokens(self, question: str) -> int:
        """Words."""
        return len(question.split())

    def watch_batches(
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

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Numbers that follow from clips and questions."""
        return [[self._said(seen[0].clip, question) for question in questions] for seen, questions in asked]

    def _said(self, clip: Clip, question: str) -> Answer:
        self.asked += 1
        seed = seed_of(clip.id, clip.start_s, clip.end_s, question)
        return Answer(tuple(seed >> shift & 0xFFFF for shift in range(0, 16 * TOKENS, 16)), True, -0.5)

    def text(self, answer: Answer) -> str:
        """The numbers as words."""
        return " ".join(map(str, answer.ids))


_LAYOUT: Layout = None  # type: ignore[assignment]
