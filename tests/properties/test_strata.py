"""Mixing of sources and making up of steps, for any sizes, weights and seeds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.models.text import Encoded
from vidapt.nouns import Clip, Sample
from vidapt.recipe import Batching, DataSource, Mix
from vidapt.training.data import ClipSamples
from vidapt.training.order import Order
from vidapt.training.strata import shared_out, stratified, visits_of

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=4)


def clips(count: int) -> list[ClipSamples]:
    encoded = Encoded((0,), (1, 2), (False, True))
    return [
        ClipSamples((Clip(str(n), Path(f"{n}.mp4")),), (Sample(str(n), (), ()),), (encoded,))
        for n in range(count)
    ]


def order_of(
    sizes: list[int], weights: list[float], mix: Mix, size: int, buckets: int = 1, seed: int = 3
) -> Order:
    """An order of sources of so many clips; clips are dealt out to buckets in turn."""
    sources = np.repeat(np.arange(len(sizes)), sizes)
    given_sources = [DataSource(path=Path("l"), weight=weight) for weight in weights]
    strata = stratified(sources, np.arange(len(sources)) % buckets, visits_of(mix, given_sources, sizes))
    return Order(clips(len(sources)), Batching(clips=size), (seed, 0), strata=strata)


def epoch(order: Order, number: int) -> list[list[int]]:
    first = number * order.steps_per_epoch
    return [[visit.clip for visit in order.step(first + at)] for at in range(order.steps_per_epoch)]


@given(st.integers(0, 200), st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
def test_what_is_shared_out_adds_up_and_is_near_its_share(total: int, weights: list[float]) -> None:
    shares = shared_out(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - total * weight / sum(weights)) < 1


@settings(deadline=None)
@given(SIZES, st.integers(1, 7), st.data())
def test_weights_are_visits_of_every_clip(sizes: list[int], size: int, data: st.DataObject) -> None:
    weights = [data.draw(st.sampled_from([0.5, 1.0, 2.0, 2.5])) for _ in sizes]
    order = order_of(sizes, weights, Mix(by="weights"), size)
    visits = [visits_of(Mix(by="weights"), [DataSource(path=Path("l"), weight=w)], [n])[0]
              for w, n in zip(weights, sizes, strict=True)]  # fmt: skip
    ends = np.cumsum(sizes)
    seen: Counter[int] = Counter()
    for number in range(4):
        found = [clip for step in epoch(order, number) for clip in step]
        by_source = Counter(int(np.searchsorted(ends, clip, side="right")) for clip in found)
        assert [by_source[at] for at in range(len(sizes))] == visits
        seen.update(found)
        # No clip comes again before all others of its source have come as often.
        for at, end in enumerate(ends):
            counts = [seen[clip] for clip in range(int(end) - sizes[at], int(end))]
            assert max(counts) - min(counts) <= 1


@settings(deadline=None)
@given(SIZES, st.integers(1, 7), st.integers(1, 3))
def test_an_order_is_a_function_of_seed_and_step(sizes: list[int], size: int, buckets: int) -> None:
    mix, weights = Mix(by="ratio"), [1.0 + at for at in range(len(sizes))]
    one = order_of(sizes, weights, mix, size, buckets)
    forward = [one.step(number) for number in range(2 * one.steps_per_epoch)]
    other = order_of(sizes, weights, mix, size, buckets)
    assert [other.step(number) for number in reversed(range(2 * one.steps_per_epoch))] == forward[::-1]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4))
def test_buckets_never_share_a_step_and_nothing_is_left_out(count: int, size: int, buckets: int) -> None:
    order = order_of([count], [1.0], Mix(), size, buckets)
    steps = epoch(order, 1)
    assert sorted(clip for step in steps for clip in step) == list(range(count))
    assert all(len({clip % buckets for clip in step}) == 1 and len(step) <= size for step in steps)


@settings(deadline=None)
@given(st.integers(20, 60), st.integers(2, 3))
def test_groups_follow_one_another_for_all_of_their_epochs(count: int, buckets: int) -> None:
    order = order_of([count], [1.0], Mix(), 2, buckets)
    total = 3 * order.steps_per_epoch
    order.follow_one_another(total)
    steps = [[visit.clip for visit in order.step(number)] for number in range(total)]
    groups = [step[0] % buckets for step in steps]
    assert groups == sorted(groups)
    assert Counter(clip for step in steps for clip in step) == Counter(dict.fromkeys(range(count), 3))


def test_a_ratio_holds_in_every_stretch_of_an_epoch() -> None:
    order = order_of([90, 10], [3.0, 1.0], Mix(by="ratio"), 8)
    found = [clip for step in epoch(order, 0) for clip in step]
    assert len(found) == 100
    assert sum(clip >= 90 for clip in found) == 25
    for start in range(0, 80):
        assert 3 <= sum(clip >= 90 for clip in found[start : start + 20]) <= 7


def test_temperature_goes_from_sizes_to_equal_shares() -> None:
    sources = [DataSource(path=Path("l"))] * 2
    shares = {t: visits_of(Mix(by="temperature", temperature=t), sources, [90, 10]) for t in (1, 2, 1000)}
    assert shares == {1: [90, 10], 2: [75, 25], 1000: [50, 50]}


def test_steps_of_like_length_are_in_random_order_and_whole() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 200)
    order = Order(clips(200), Batching(clips=4), (3, 0), lengths=lengths)
    plain = Order(clips(200), Batching(clips=4), (3, 0))
    steps, usual = epoch(order, 0), epoch(plain, 0)
    assert sorted(clip for step in steps for clip in step) == list(range(200))

    def spread(some: list[list[int]]) -> float:
        return float(np.mean([np.ptp(lengths[step]) for step in some]))

    assert spread(steps) < spread(usual) / 10
    means = [lengths[step].mean() for step in steps]
    assert 0.3 < np.mean(np.diff(means) > 0) < 0.7
    assert steps != epoch(order, 1)
