"""Resampling whole clusters, and where the ends of an interval lie among the resamples.

Plain percentiles are too narrow where there are few clusters, and lie too far to one side where nearly all is
right. So they are shifted by bias and acceleration (BCa: Efron 1987) and spread to what Student's t would say
of so few (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3). Differences are
spread alone: where two systems seldom differ, bias and acceleration are guessed from a handful of clusters,
and the shift does harm. `benchmarks/intervals.py` counts how often the truth lies inside.

Letters: K clusters, G groups, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_DRAWS_AT_ONCE = 1 << 22
"""Resamples are made in blocks of about this many draws, so memory stays bounded however many clusters."""

Floats = NDArray[np.float64]


def resampled_ratios(tops: Floats, bottoms: Floats, resamples: int, seed: int = 0) -> Floats:
    """[R, G] ratios of the sums of [K, G] arrays over resampled rows; NaN where nothing was drawn."""
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, got {resamples}")
    blocks = []
    for weights in _weights(len(tops), resamples, seed):
        with np.errstate(invalid="ignore", divide="ignore"):
            below = weights @ bottoms
            blocks.append(np.where(below > 0, weights @ tops / below, np.nan))
    return np.concatenate(blocks)


def left_out_ratios(tops: Floats, bottoms: Floats) -> Floats:
    """[K, G] ratios of the sums without each row in turn; NaN where nothing is left."""
    below = bottoms.sum(0) - bottoms
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, (tops.sum(0) - tops) / below, np.nan)


def _weights(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks [r, K] of how often each of K rows is drawn in a resample."""
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // rows)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        draws = rng.integers(rows, size=(size, rows)) + np.arange(size)[:, None] * rows
        yield np.bincount(draws.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def ends_of(
    value: float, resampled: Floats, clusters: int, level: float, without: Floats | None
) -> tuple[float, float]:
    """Both ends of the interval of an estimate, which lies between them; see `intervals.interval_of`."""
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, got {level}")
    kept = resampled[~np.isnan(resampled)]
    if not kept.size:
        raise ValueError("no resample holds any of these scores; take more resamples")
    wide = spread(level, clusters)
    shares = (
        (NormalDist().cdf(-wide), NormalDist().cdf(wide))
        if without is None
        else _shifted(value, kept, without[~np.isnan(without)], wide)
    )
    low, high = np.quantile(kept, shares)
    # Rounding can miss the estimate; wider is the honest side.
    return min(float(low), value), max(float(high), value)


def _shifted(value: float, resampled: Floats, without: Floats, wide: float) -> tuple[float, float]:
    """Between which shares of the resamples an interval of so many standard deviations lies (BCa)."""
    normal, edge = NormalDist(), 0.5 / len(resampled)
    below = float(np.mean(resampled < value) + np.mean(resampled == value) / 2)
    bias = normal.inv_cdf(min(max(below, edge), 1 - edge))
    pulls = without.mean() - without if without.size else without
    squares = float((pulls**2).sum())
    acceleration = float((pulls**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0

    def share(z: float) -> float:
        shifted = bias + z
        # Beyond its pole the formula turns round; there the end is the last resample.
        stretch = max(1 - acceleration * shifted, 1e-6)
        return normal.cdf(bias + shifted / stretch)

    return share(-wide), share(wide)


def spread(level: float, clusters: int) -> float:
    """Standard deviations of resamples that an interval reaches: Student's t, and what K - 1 takes away."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    return z if clusters < 2 else _student(z, clusters - 1) * (clusters / (clusters - 1)) ** 0.5


def _student(z: float, freedom: int) -> float:
    """Quantile of Student's t where that of the normal distribution is z (Abramowitz and Stegun, 26.7.5).

    Good to one in a hundred from 2 degrees of freedom on.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom**power) for power, term in enumerate(terms, start=1))
