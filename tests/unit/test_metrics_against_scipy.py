"""The statistics are those of scipy and statsmodels, where these have the same."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.measure.paired import holm
from vidapt.metrics.bootstrap import spread
from vidapt.metrics.intervals import (
    difference_interval,
    mcnemar,
    mean_interval,
    ratio_difference_interval,
    ratio_interval,
)
from vidapt.metrics.kappa import cohen_kappa

stats = pytest.importorskip("scipy.stats")
contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
RESAMPLES = 20_000


def by_scipy(
    columns: list[np.ndarray], statistic: object, clusters: int, low: float, high: float, method: str = "BCa"
) -> None:
    """Both ends lie where scipy has them with as much spread, but for the luck of resampling."""
    level = 2 * stats.norm.cdf(spread(0.95, clusters)) - 1
    found = stats.bootstrap(
        columns,
        statistic,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=True,
        confidence_level=level,
        method=method,
        rng=np.random.default_rng(3),
    )
    ends = found.confidence_interval
    width = ends.high - ends.low
    assert (low, high) == pytest.approx((ends.low, ends.high), abs=0.04 * width)


def ratio(top: np.ndarray, bottom: np.ndarray, axis: int = -1) -> np.ndarray:
    return top.sum(axis) / bottom.sum(axis)


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers of two systems, and questions, of 40 clips."""
    rng = np.random.default_rng(11)
    asked = rng.integers(1, 12, 40)
    return rng.binomial(asked, 0.8), rng.binomial(asked, 0.7), asked


def test_means_and_ratios(counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    right, _, asked = counts
    found = ratio_interval(right, asked, resamples=RESAMPLES)
    by_scipy([right, asked], ratio, 40, found.low, found.high)
    single = np.concatenate([np.arange(n) < r for n, r in zip(asked, right, strict=True)])
    same = mean_interval(single, np.repeat(np.arange(40), asked).tolist(), resamples=RESAMPLES)
    assert same == found


def test_differences(counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    one, other, asked = counts
    found = ratio_difference_interval((one, asked), (other, asked), resamples=RESAMPLES)

    def gap(a: np.ndarray, b: np.ndarray, n: np.ndarray, axis: int = -1) -> np.ndarray:
        return ratio(b, n, axis) - ratio(a, n, axis)

    by_scipy([one, other, asked], gap, 40, found.low, found.high, "percentile")
    before, after = one / asked, other / asked
    plain = difference_interval(before, after, resamples=RESAMPLES)

    def mean_gap(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        means: np.ndarray = (b - a).mean(axis)
        return means

    by_scipy([before, after], mean_gap, 40, plain.low, plain.high, "percentile")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar(pairs: list[tuple[bool, bool]]) -> None:
    table = np.zeros((2, 2), int)
    for a, b in pairs:
        table[int(a), int(b)] += 1
    found = mcnemar([a for a, _ in pairs], [b for _, b in pairs])
    assert found.p_value == pytest.approx(contingency.mcnemar(table, exact=True).pvalue)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm(values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    named = {str(at): value for at, value in enumerate(values)}
    with mock.patch("gc.collect"):  # which it calls; among all that other tests imported, that takes a second
        expected = multitest.multipletests(values, method="holm")[1]
    assert list(holm(named)[name] for name in named) == pytest.approx(list(expected))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=60))
def test_kappa(pairs: list[tuple[str, str]]) -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    table = np.zeros((3, 3))
    for a, b in pairs:
        table["abc".index(a), "abc".index(b)] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = rater.cohens_kappa(table, return_results=False)
    found = cohen_kappa(pairs)
    if found is not None and np.isfinite(expected):
        assert found == pytest.approx(expected)
