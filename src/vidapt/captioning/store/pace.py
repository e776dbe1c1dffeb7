"""How fast one process captions, what holds it up, and how far it is from what its device could do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt.captioning.store.asked import Asked
from vidapt.captioning.store.rows import DONE, FAILED
from vidapt.video import Meter

_WORTH = 64
"""Clips of a job for which the device's speed is measured."""


@dataclass
class Pace:
    """What was done, and in which time.

    Attributes:
        asked: What is asked of whom.
        places: Clips that are answered at a time.
        clips: Of the whole work.
        captioned: Rows with captions.
        failed: Rows without.
        rate: Clips captioned per second.
        waited: Share of the time for which the device waited for frames.
        limit: Clips per second that the device could caption at best; None where that is not known.
        meter: Is told of waiting for frames.
    """

    asked: Asked
    places: int
    clips: int
    captioned: int = 0
    failed: int = 0
    rate: float = 0.0
    waited: float = 0.0
    limit: float | None = None
    meter: Meter = field(default_factory=Meter)
    _new: int = 0
    _visual: int = 0
    _began: float = field(default_factory=time.monotonic)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count rows."""
        self.captioned += sum(row["status"] == DONE for row in rows)
        self.failed += sum(row["status"] == FAILED for row in rows)
        self._new += sum(row["new_tokens"] or 0 for row in rows)
        self._visual += sum(row["visual_tokens"] or 0 for row in rows)

    def measure(self) -> None:
        """Let a device that has nothing else to do yet be measured, if so many clips are worth it."""
        if self.clips >= _WORTH:
            self.asked.engine.seconds(1, 1, self.places, self.asked.answers_each)

    def look(self) -> None:
        """Look at the clock."""
        passed = max(1e-6, time.monotonic() - self._began)
        self.rate = self.captioned / passed
        self.waited = min(1.0, self.meter.waited_s / passed)
        if self.limit is None and self.captioned and self.clips >= _WORTH:
            self.limit = self._best()

    def _best(self) -> float | None:
        """Clips per second, by the lengths of the captions so far."""
        new, visual = self._new / self.captioned, self._visual / self.captioned
        read, answers = visual + self.asked.text_tokens, self.asked.answers_each
        least = self.asked.engine.seconds(read, new, self.places, answers)
        return None if least is None else 1 / least

    @property
    def note(self) -> str:
        """The same for people."""
        share = "" if self.limit is None else f" ({self.rate / self.limit:.0%} of the limit)"
        told = [f"{self.rate:.3g} clips/s{share}", f"waited {self.waited:.0%}"]
        told += [f"{self.meter.ready} ahead"] if self.meter.ready else []
        return ", ".join([*told, f"{self.failed} failed"] if self.failed else told)
