"""Bootstrap intervals and the McNemar test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.bootstrap import spread
from vidapt.metrics.intervals import (
    Interval,
    detectable,
    difference_interval,
    grouped_intervals,
    mcnemar,
    mean_interval,
    ratio_difference_interval,
    ratio_interval,
    unanimous,
)

FAST = {"resamples": 200}
row = st.tuples(st.floats(-10, 10), st.integers(0, 4), st.sampled_from("xyz"))
scores = st.lists(row, min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(scores)
def test_intervals_hold_their_means(rows: list[tuple[float, int, str]]) -> None:
    values, clips, groups = (list(column) for column in zip(*rows, strict=True))
    plain, clustered = mean_interval(values, **FAST), mean_interval(values, clips, **FAST)
    grouped = grouped_intervals(values, groups, clips, **FAST)
    for interval in (plain, clustered, grouped.macro, *grouped.groups.values()):
        assert interval.low <= interval.value <= interval.high
    assert plain.value == pytest.approx(np.mean(values), abs=1e-12)
    assert clustered.value == pytest.approx(plain.value, abs=1e-12)
    means = {g: np.mean([v for v, other in zip(values, groups, strict=True) if other == g]) for g in groups}
    assert {g: i.value for g, i in grouped.groups.items()} == pytest.approx(means, abs=1e-12)
    assert grouped.macro.value == pytest.approx(np.mean(list(means.values())), abs=1e-12)
    assert min(values) - 1e-9 <= plain.low
    assert plain.high <= max(values) + 1e-9


def test_plain_interval_of_normal_scores_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    interval = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    narrow = mean_interval(values, level=0.5)
    assert (narrow.high - narrow.low) / (interval.high - interval.low) == pytest.approx(
        0.674 / 1.96, abs=0.03
    )


def test_questions_that_fail_together_count_as_one() -> None:
    outcomes = np.random.default_rng(0).random(50) < 0.5
    repeated, clips = np.repeat(outcomes, 8), np.repeat(np.arange(50), 8)
    once = mean_interval(outcomes)
    clustered, naive = mean_interval(repeated, clips.tolist()), mean_interval(repeated)
    assert clustered == once
    assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(8), rel=0.1)


def test_clustered_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(200):
        clip_effect = rng.normal(size=40)
        values = 1.0 + np.repeat(clip_effect, 5) + 0.3 * rng.normal(size=200)
        interval = mean_interval(values, np.repeat(np.arange(40), 5).tolist(), resamples=400, seed=trial)
        held += interval.low <= 1.0 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_of_few_clips_and_of_nearly_all_right_no_more_is_promised_than_is_known() -> None:
    """Plain percentiles hold the truth in 88 % of these cases."""
    rng, held, trials = np.random.default_rng(7), 0, 400
    for trial in range(trials):
        shares = rng.beta(0.85 * 9, 0.15 * 9, 20)
        asked = rng.integers(1, 12, 20)
        right = np.concatenate([rng.random(n) < share for n, share in zip(asked, shares, strict=True)])
        clips = np.repeat(np.arange(20), asked).tolist()
        interval = mean_interval(right, clips, resamples=400, seed=trial)
        held += interval.low <= 0.85 <= interval.high
    assert 0.92 <= held / trials <= 0.98


@pytest.mark.parametrize("clusters", [3, 4, 6, 11, 31, 1001])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_spread_is_students(clusters: int, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    wide = stats.t.ppf((1 + level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    assert spread(level, clusters) == pytest.approx(wide, rel=0.06 if clusters == 3 else 0.01)


@pytest.mark.parametrize(("asked", "right"), [(10, 10), (10, 0), (1, 1), (300, 300)])
def test_where_all_are_alike_the_interval_is_the_exact_one(asked: int, right: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    exact = stats.binomtest(right, asked).proportion_ci(method="exact")
    found = unanimous(Interval(right / asked, right / asked, right / asked), asked)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_other_shares_are_left_as_they_are() -> None:
    for interval in (Interval(0.5, 0.5, 0.5), Interval(1.0, 0.9, 1.0), Interval(0.0, 0.0, 0.2)):
        assert unanimous(interval, 10) is interval


def test_macro_mean_weighs_rare_groups_like_common_ones() -> None:
    values, groups = [1.0] * 90 + [0.0] * 10, ["common"] * 90 + ["rare"] * 10
    grouped = grouped_intervals(values, groups, list(range(100)))
    assert grouped.macro.value == 0.5
    assert grouped.macro.low == grouped.macro.high == 0.5
    assert list(grouped.groups) == ["common", "rare"]


def test_resampling_in_blocks_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random(60)
    whole = mean_interval(values, **FAST)
    monkeypatch.setattr("vidapt.metrics.bootstrap._DRAWS_AT_ONCE", 7 * 60)
    assert mean_interval(values, **FAST) == whole


def test_seed_decides_the_interval() -> None:
    values = np.random.default_rng(2).random(60)
    assert mean_interval(values, **FAST) == mean_interval(values, **FAST)
    assert mean_interval(values, seed=1, **FAST) != mean_interval(values, **FAST)


def test_paired_difference_is_narrower_than_its_parts() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=200)
    after = base + 0.1 + 0.05 * rng.normal(size=200)
    gain = difference_interval(base, after)
    assert gain.value == pytest.approx((after - base).mean())
    assert gain.excludes_zero()
    alone = mean_interval(base)
    assert gain.high - gain.low < 0.1 * (alone.high - alone.low)


@settings(deadline=None, max_examples=30)
@given(scores)
def test_a_system_does_not_differ_from_itself(rows: list[tuple[float, int, str]]) -> None:
    values, clips, _ = (list(column) for column in zip(*rows, strict=True))
    same = difference_interval(values, values, clips, **FAST)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert not same.excludes_zero()


def test_ratio_weighs_clips_by_their_denominators() -> None:
    interval = ratio_interval([1, 0, 9], [1, 0, 19])
    assert interval.value == 0.5
    assert interval.low == pytest.approx(9 / 19)
    assert interval.high == 1.0


def test_ratio_difference_pairs_clips() -> None:
    tops, bottoms = [3, 1, 5, 2, 4, 3, 6, 2], [4, 2, 5, 9, 5, 4, 8, 3]
    same = ratio_difference_interval((tops, bottoms), (tops, bottoms))
    assert (same.low, same.value, same.high) == (0, 0, 0)
    halved = ratio_difference_interval((tops, bottoms), (tops, [2 * n for n in bottoms]))
    assert halved.value == pytest.approx(-26 / 40 / 2)
    assert halved.high < 0


@pytest.mark.parametrize("values", [[], [float("nan")], [[1.0, 2.0]]])
def test_scores_that_are_none_or_no_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="score"):
        mean_interval(values)


def test_mismatched_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="1 labels for 2 scores"):
        mean_interval([1, 2], ["a"])
    with pytest.raises(ValueError, match="2 scores before for 1 after"):
        difference_interval([1, 2], [1])
    with pytest.raises(ValueError, match="1 numerators for 2 denominators"):
        ratio_interval([1], [1, 2])
    with pytest.raises(ValueError, match="denominators must be"):
        ratio_interval([1, 1], [0, 0])
    with pytest.raises(ValueError, match="1 clips before for 2 after"):
        ratio_difference_interval(([1], [1]), ([1, 1], [1, 1]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1, 2], level=95)
    with pytest.raises(ValueError, match="at least one resample"):
        mean_interval([1, 2], resamples=0)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 32), (1, 9, 2 * 11 / 1024), (2, 8, 2 * 56 / 1024)],
)
def test_mcnemar_equals_the_counted_coin_throws(only_a: int, only_b: int, p_value: float) -> None:
    a = [True] * only_a + [False] * only_b + [True] * 4 + [False] * 3
    b = [False] * only_a + [True] * only_b + [True] * 4 + [False] * 3
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p_value == pytest.approx(p_value)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_mcnemar_is_symmetric(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    forth, back = mcnemar(a, b), mcnemar(b, a)
    assert (forth.only_a, forth.only_b, forth.p_value) == (back.only_b, back.only_a, back.p_value)
    assert 0 < forth.p_value <= 1


def test_mcnemar_of_thousands_of_questions_stays_exact() -> None:
    found = mcnemar([True] * 2600 + [False] * 2400, [False] * 2600 + [True] * 2400)
    # Normal approximation with continuity correction: z = (200 - 1) / sqrt(5000).
    assert found.p_value == pytest.approx(math.erfc(199 / math.sqrt(5000) / math.sqrt(2)), rel=0.01)


def test_mcnemar_needs_the_same_questions() -> None:
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_detectable_difference_follows_from_the_half_width() -> None:
    # A half width of 1.96 is one standard error; 80 % power needs 2.80 of them.
    assert detectable(Interval(0.5, 0.5 - 1.96, 0.5 + 1.96)) == pytest.approx(2.80, abs=0.005)
    assert detectable(Interval(0.0, -1.96, 1.96), power=0.5) == pytest.approx(1.96, abs=0.005)
