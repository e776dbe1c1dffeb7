"""How far probes and the model itself know more than the most common answer, with intervals over sources."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.intervals import Interval, difference_interval, mean_interval, ratio_interval

RESAMPLES = 2_000

Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Known:
    """Of one probe, or of the model's own answers.

    Attributes:
        accuracy: Share of right answers, by clips that were held out.
        visibility: (accuracy - majority) / (1 - majority): 0 is the most common answer, 1 is all; below 0 is
            worse than the most common answer. None where that one is always right.
    """

    accuracy: Interval
    visibility: Interval | None

    @property
    def value(self) -> float:
        """Visibility; 0 where it has none."""
        return 0.0 if self.visibility is None else self.visibility.value

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def cell(self) -> str:
        """For a table: visibility with its interval."""
        if self.visibility is None:
            return "none"
        one = self.visibility
        return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def known(right: Right, common: Right, sources: Sequence[Hashable]) -> Known:
    """Compare answers with the most common ones.

    Args:
        right: [N] whether each was right.
        common: [N] whether the most common answer was.
        sources: [N] what hangs together, which is resampled together.
    """
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(source, len(numbers)) for source in sources])
    gains = np.bincount(index, right.astype(float) - common.astype(float), len(numbers))
    room = np.bincount(index, 1.0 - common.astype(float), len(numbers))
    visibility = ratio_interval(gains, room, resamples=RESAMPLES) if room.sum() > 0 else None
    return Known(mean_interval(right, sources, resamples=RESAMPLES), visibility)


def gain(before: Right, after: Right, sources: Sequence[Hashable]) -> Interval:
    """By how much the second one's accuracy is above the first one's, paired."""
    return difference_interval(before, after, sources, resamples=RESAMPLES)
