"""Counts of claims and their rates."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.claims import ClaimCounts, claim_difference, claim_rates

counts = st.builds(
    lambda supported, contradicted, unparsed, recalled, missed: ClaimCounts(
        supported, contradicted, unparsed, recalled, recalled + missed
    ),
    *[st.integers(0, 20)] * 5,
)


def test_rates_are_shares_of_judged_claims_and_of_facts() -> None:
    found = ClaimCounts(supported=6, contradicted=2, unparsed=5, recalled=3, salient=4)
    assert (found.precision, found.false_claim_rate, found.recall) == (0.75, 0.25, 0.75)
    nothing = ClaimCounts(unparsed=3)
    assert (nothing.precision, nothing.false_claim_rate, nothing.recall) == (None, None, None)


@settings(deadline=None)
@given(counts, counts, counts)
def test_counts_add_up_in_any_order(a: ClaimCounts, b: ClaimCounts, c: ClaimCounts) -> None:
    assert (a + b) + c == a + (b + c) == sum([c, b, a], start=ClaimCounts())
    assert asdict(a + b) == {key: asdict(a)[key] + asdict(b)[key] for key in asdict(a)}


@settings(deadline=None)
@given(counts)
def test_true_and_false_claims_are_all_judged_ones(a: ClaimCounts) -> None:
    if a.precision is not None and a.false_claim_rate is not None:
        assert a.precision + a.false_claim_rate == pytest.approx(1)


@pytest.mark.parametrize("bad", [{"supported": -1}, {"recalled": 2, "salient": 1}])
def test_impossible_counts_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"negative|recalled of"):
        ClaimCounts(**bad)


def test_rates_over_clips_weigh_every_claim_the_same() -> None:
    per_clip = [ClaimCounts(9, 1, 0, 1, 2), ClaimCounts(0, 10, 2, 0, 2), ClaimCounts()]
    rates = claim_rates(per_clip, resamples=500)
    assert rates.clips == 3
    assert rates.total == ClaimCounts(9, 11, 2, 1, 4)
    assert rates.precision is not None
    assert rates.false_claim_rate is not None
    assert rates.recall is not None
    assert rates.false_claim_rate.value == pytest.approx(11 / 20)
    assert rates.recall.value == 0.25
    assert rates.precision.low == pytest.approx(1 - rates.false_claim_rate.high)
    assert json.loads(json.dumps(asdict(rates)))["total"]["contradicted"] == 11


def test_rates_of_nothing_are_none() -> None:
    rates = claim_rates([ClaimCounts(unparsed=1), ClaimCounts(salient=2)])
    assert (rates.precision, rates.false_claim_rate) == (None, None)
    assert rates.recall is not None
    assert rates.recall.value == 0
    assert claim_rates([]).precision is None


def test_change_of_rates_pairs_the_clips() -> None:
    before = [ClaimCounts(5, 5, 0, 1, 4)] * 20
    after = [ClaimCounts(9, 1, 0, 3, 4)] * 20
    change = claim_difference(before, after, resamples=200)
    assert change.false_claim_rate is not None
    assert change.recall is not None
    assert change.false_claim_rate.value == pytest.approx(-0.4)
    assert change.false_claim_rate.high == pytest.approx(-0.4)
    assert change.recall.value == pytest.approx(0.5)
    silent = claim_difference(before, [ClaimCounts(salient=4)] * 20, resamples=200)
    assert silent.precision is None
    with pytest.raises(ValueError, match="20 clips before for 1 after"):
        claim_difference(before, after[:1])
