"""Whether one number goes with another: Spearman's rank correlation, with an interval over groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from vidapt.metrics.intervals import LEVEL, Interval

RESAMPLES = 4000

Floats = NDArray[np.float64]


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Correlation of ranks, equal values sharing theirs; None where either does not vary.

    Source: Spearman, "The proof and measurement of association between two things", 1904.
    """
    return _correlation(ranks(one), ranks(other))


def ranks(values: Sequence[float]) -> Floats:
    """[n] ranks from 1, the mean rank for equal values."""
    given = np.asarray(values, dtype=np.float64)
    _, place, count = np.unique(given, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    means: Floats = (last - (count - 1) / 2)[place]
    return means


def spearman_interval(
    one: Sequence[float], other: Sequence[float], groups: Sequence[Hashable], *, seed: int = 0
) -> Interval | None:
    """The correlation and its bootstrap interval; members are drawn anew within each group.

    So a group, such as a run with its checkpoints, always takes part, and luck within it is what varies. Few
    groups say little of groups that are not there: that, the interval does not know.

    Args:
        one: [n] values.
        other: [n] values.
        groups: [n] the group of each.
        seed: Of the resampling.
    """
    value = spearman(one, other)
    if value is None:
        return None
    places: dict[Hashable, list[int]] = {}
    for at, group in enumerate(groups):
        places.setdefault(group, []).append(at)
    rng, a, b = np.random.default_rng(seed), np.asarray(one), np.asarray(other)
    drawn = []
    for _ in range(RESAMPLES):
        some = np.concatenate([rng.choice(members, len(members)) for members in places.values()])
        found = _correlation(ranks(a[some]), ranks(b[some]))
        if found is not None:
            drawn.append(found)
    low, high = np.quantile(drawn or [value], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def _correlation(one: Floats, other: Floats) -> float | None:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
