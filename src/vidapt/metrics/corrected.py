"""What a person's check of some verdicts says of all of them, and how often a judge can err.

Source: Angelopoulos et al. 2023, "Prediction-powered inference", arXiv 2301.09633: the mean of a judge's
verdicts, moved by what they differ from a person's where both are known.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from statistics import NormalDist

from vidapt.metrics.intervals import LEVEL, Interval


def corrected(
    judged: Mapping[str, float],
    checked: Mapping[str, float],
    sources: Mapping[str, Hashable],
    *,
    level: float = LEVEL,
) -> Interval | None:
    """Estimate what a person would have said of all cases on average.

    The cases that were checked have to be drawn at random from those that were judged.

    Args:
        judged: By case, what the judge says, such as 1 for yes and 0 for no.
        checked: By case, what the person says; others than those judged are passed over.
        sources: By case, the footage it comes from: cases of one source are not independent.
        level: Confidence level, in (0, 1).

    Returns:
        None where fewer than two sources are checked.
    """
    both = [case for case in checked if case in judged]
    if len({sources[case] for case in both}) < 2:
        return None
    mean = sum(judged.values()) / len(judged)
    off = {case: checked[case] - judged[case] for case in both}
    shift = sum(off.values()) / len(off)
    error = math.sqrt(
        _variance({case: value - mean for case, value in judged.items()}, sources)
        + _variance({case: value - shift for case, value in off.items()}, sources)
    )
    # Where judge and person never differ, the check still cannot exclude that they do now and then.
    least = (1 - (1 - level) ** (1 / len(both))) if not any(off.values()) else 0.0
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(mean + shift, mean + shift - max(reach, least), mean + shift + max(reach, least), level)


def error_bound(errors: int, count: int, level: float = LEVEL) -> float:
    """How often something happens at most that happened `errors` times in `count` (Clopper, Pearson 1934).

    One-sided: with probability `level` it happens no more often.

    Args:
        errors: How often it was seen.
        count: Of how many; with none nothing is excluded.
        level: Confidence level, in (0, 1).
    """
    if errors >= count:
        return 1.0
    low, high = errors / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        seen = sum(math.comb(count, k) * middle**k * (1 - middle) ** (count - k) for k in range(errors + 1))
        low, high = (middle, high) if seen > 1 - level else (low, middle)
    return high


def _variance(residuals: Mapping[str, float], sources: Mapping[str, Hashable]) -> float:
    """Of a mean, from what sources sum up to."""
    sums: dict[Hashable, float] = {}
    for case, value in residuals.items():
        sums[sources[case]] = sums.get(sources[case], 0.0) + value
    count = len(sums)
    if count < 2:
        return 0.0
    return count / (count - 1) * sum(value**2 for value in sums.values()) / len(residuals) ** 2
