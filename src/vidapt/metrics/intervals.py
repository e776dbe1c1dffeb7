"""Confidence intervals and tests for scores of clips.

Questions about one clip succeed and fail together, so resampling questions would promise too much.
Resampling whole clips ("cluster bootstrap", Davison and Hinkley 1997, section 3.8) keeps them together.

How the ends of intervals are found is told in `bootstrap`.

Letters: n scores, K clusters (clips), G groups (question types), R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidapt.metrics.bootstrap import Floats, ends_of, left_out_ratios, resampled_ratios

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bootstrap interval.

    Attributes:
        value: The estimate from all data.
        low: Lower end; never above `value`.
        high: Upper end; never below `value`.
        level: Share of such intervals that hold the true value.
    """

    value: float
    low: float
    high: float
    level: float = LEVEL

    def excludes_zero(self) -> bool:
        """Whether a difference is distinguishable from none."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class GroupedIntervals:
    """Means per group and their unweighted mean, from one set of resamples.

    Attributes:
        groups: Interval of each group's mean, by name.
        macro: Interval of the mean over groups. Resampled as one number, with all groups of a clip together.
    """

    groups: dict[str, Interval]
    macro: Interval


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of two systems on the same questions.

    Attributes:
        only_a: Questions that only the first system answered rightly.
        only_b: Questions that only the second did.
        p_value: Chance of a split at least as uneven if both were equally good; two-sided.
    """

    only_a: int
    only_b: int
    p_value: float


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean of scores and its interval.

    Args:
        values: [n] finite scores.
        clusters: [n] the clip of each score; None resamples the scores themselves (plain bootstrap).
        resamples: Number of bootstrap resamples.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: If there is no score, one is not finite, or lengths differ.
    """
    scores = _scores(values)
    index, count = _codes(clusters if clusters is not None else range(len(scores)), len(scores))
    sums = np.bincount(index, weights=scores, minlength=count)
    sizes = np.bincount(index, minlength=count)
    return ratio_interval(sums, sizes, resamples=resamples, level=level, seed=seed)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the ratio of two sums over clips and its cluster-bootstrap interval.

    Args:
        numerators: [K] what each clip adds on top, such as its false claims.
        denominators: [K] what it adds below, such as its claims; not negative, and not all zero.
        resamples: Number of bootstrap resamples.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling.

    Raises:
        ValueError: If the sum of the denominators is not positive, a number is not finite, or lengths differ.
    """
    tops, bottoms = _ratio_terms(numerators, denominators)
    ratios = resampled_ratios(tops[:, None], bottoms[:, None], resamples, seed)
    value = float(tops.sum() / bottoms.sum())
    without = left_out_ratios(tops[:, None], bottoms[:, None])[:, 0]
    return interval_of(value, ratios[:, 0], len(tops), level, without)


def difference_interval(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean gain of one system over another on the same items (paired), and its interval.

    Args:
        before: [n] scores of the first system.
        after: [n] scores of the second on the same items; the value is the mean of `after - before`.
        clusters: [n] the clip of each item; None resamples the items themselves.
        resamples: Number of bootstrap resamples.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling.

    Raises:
        ValueError: If there is no score, one is not finite, or lengths differ.
    """
    old, new = _scores(before), _scores(after)
    if old.shape != new.shape:
        raise ValueError(f"{len(old)} scores before for {len(new)} after")
    gains = new - old
    index, count = _codes(clusters if clusters is not None else range(len(gains)), len(gains))
    tops = np.bincount(index, weights=gains, minlength=count).astype(np.float64)[:, None]
    bottoms = np.bincount(index, minlength=count).astype(np.float64)[:, None]
    return interval_of(
        float(gains.mean()), resampled_ratios(tops, bottoms, resamples, seed)[:, 0], count, level
    )


def ratio_difference_interval(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return by how much a ratio of sums changed between two systems on the same clips (paired).

    Args:
        before: Numerators [K] and denominators [K] of the first system, as in `ratio_interval`.
        after: Those of the second on the same clips; the value is its ratio less the first one's.
        resamples: Number of bootstrap resamples.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling.

    Raises:
        ValueError: As in `ratio_interval`, or if the number of clips differs.
    """
    (old_top, old_bottom), (new_top, new_bottom) = _ratio_terms(*before), _ratio_terms(*after)
    if old_top.shape != new_top.shape:
        raise ValueError(f"{len(old_top)} clips before for {len(new_top)} after")
    tops, bottoms = np.stack([old_top, new_top], axis=1), np.stack([old_bottom, new_bottom], axis=1)
    old, new = resampled_ratios(tops, bottoms, resamples, seed).T
    value = float(new_top.sum() / new_bottom.sum() - old_top.sum() / old_bottom.sum())
    return interval_of(value, new - old, len(tops), level)


def grouped_intervals(
    values: ArrayLike,
    groups: Sequence[str],
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    difference: bool = False,
) -> GroupedIntervals:
    """Return the mean of every group, and the mean of those means, with intervals.

    A group of which a resample holds nothing is left out of that resample's macro mean.

    Args:
        values: [n] finite scores.
        groups: [n] the group (question type) of each score.
        clusters: [n] the clip of each score; clips are resampled.
        resamples: Number of bootstrap resamples.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling.
        difference: Whether these are differences of two systems.

    Raises:
        ValueError: If there is no score, one is not finite, or lengths differ.
    """
    scores = _scores(values)
    index, count = _codes(clusters, len(scores))
    column, width = _codes(groups, len(scores))
    cell = index * width + column
    tops = np.bincount(cell, scores, count * width).astype(np.float64).reshape(count, width)
    bottoms = np.bincount(cell, minlength=count * width).astype(np.float64).reshape(count, width)
    means = tops.sum(0) / bottoms.sum(0)
    resampled = resampled_ratios(tops, bottoms, resamples, seed)
    without = None if difference else left_out_ratios(tops, bottoms)
    names = list(dict.fromkeys(groups))
    return GroupedIntervals(
        groups={
            name: interval_of(
                float(means[g]),
                resampled[:, g],
                int((bottoms[:, g] > 0).sum()),
                level,
                None if without is None else without[:, g],
            )
            for g, name in sorted(enumerate(names), key=lambda pair: pair[1])
        },
        macro=interval_of(
            float(means.mean()),
            _row_means(resampled),
            count,
            level,
            None if without is None else _row_means(without),
        ),
    )


def interval_of(
    value: float, resampled: Floats, clusters: int, level: float = LEVEL, without: Floats | None = None
) -> Interval:
    """The interval of an estimate.

    Args:
        value: It.
        resampled: [R] the same of resamples; NaN where there is none.
        clusters: K, of those that it is about.
        level: Confidence level.
        without: [K] the same without each cluster in turn, by which the interval is shifted (BCa); None
            leaves it where it is.

    Raises:
        ValueError: If no resample holds any of these scores, or the level makes no sense.
    """
    return Interval(value, *ends_of(value, resampled, clusters, level, without), level)


def unanimous(share: Interval, clusters: int) -> Interval:
    """The interval of a share that resampling cannot vary, since all were right, or none.

    So many clusters that agree would come about in `1 - level` of all cases, both ends together, from a share
    as far off as its other end (Clopper and Pearson 1934); any other share is returned as it is.

    Args:
        share: From 0 to 1.
        clusters: How many there are.
    """
    if share.low != share.high or share.value not in (0.0, 1.0):
        return share
    reach = ((1 - share.level) / 2) ** (1 / clusters)
    low, high = (reach, 1.0) if share.value else (0.0, 1 - reach)
    return Interval(share.value, low, high, share.level)


def mcnemar(right_a: Sequence[bool], right_b: Sequence[bool]) -> McNemar:
    """Compare two systems by the questions that exactly one of them answered rightly (McNemar 1947, exact).

    Questions of one clip depend on each other, which this test does not know; read it beside the interval of
    the difference.

    Args:
        right_a: [n] whether the first system was right.
        right_b: [n] whether the second was, on the same questions.

    Raises:
        ValueError: If the lengths differ.
    """
    pairs = list(zip(right_a, right_b, strict=True))
    only_a = sum(1 for a, b in pairs if a and not b)
    only_b = sum(1 for a, b in pairs if b and not a)
    return McNemar(only_a, only_b, _two_sided_sign_test(only_a, only_b))


def detectable(difference: Interval, power: float = 0.8) -> float:
    """Return the smallest true difference that data like these would tell from zero.

    From the normal approximation: the interval's half width is z(level) standard errors, and a difference
    of z(level) + z(power) of them is found with probability `power`.

    Args:
        difference: Interval of a difference.
        power: Chance of finding it, in (0, 1).
    """
    z_level = NormalDist().inv_cdf((1 + difference.level) / 2)
    error = (difference.high - difference.low) / (2 * z_level)
    return (z_level + NormalDist().inv_cdf(power)) * error


def _two_sided_sign_test(a: int, b: int) -> float:
    """Twice the chance of at most min(a, b) heads in a + b throws, at most 1; in exact integers."""
    throws, fewer = a + b, min(a, b)
    ways = term = 1
    for heads in range(fewer):
        term = term * (throws - heads) // (heads + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << throws))


def _scores(values: ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"scores must be one row of at least one, got the shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number; a missing answer counts as wrong, not as missing")
    return scores


def _ratio_terms(numerators: ArrayLike, denominators: ArrayLike) -> tuple[Floats, Floats]:
    tops, bottoms = _scores(numerators), _scores(denominators)
    if tops.shape != bottoms.shape:
        raise ValueError(f"{len(tops)} numerators for {len(bottoms)} denominators")
    if bottoms.min() < 0 or bottoms.sum() <= 0:
        raise ValueError("the denominators must be at least 0, and more in total")
    return tops, bottoms


def _codes(labels: Sequence[Hashable], length: int) -> tuple[NDArray[np.int64], int]:
    """Number labels from 0 in the order they first appear: [n] codes, and how many differ."""
    if len(labels) != length:
        raise ValueError(f"{len(labels)} labels for {length} scores")
    codes: dict[Hashable, int] = {}
    numbers = np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)
    return numbers, len(codes)


def _row_means(ratios: Floats) -> Floats:
    """Mean of each row, of what is known of it; NaN where nothing is."""
    known = ~np.isnan(ratios)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, ratios, 0.0).sum(axis=1) / known.sum(axis=1)
    return means
