"""Whatever the captions and groups: an epoch covers every caption once, and look-alikes keep apart."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.nouns import Clip
from vidapt.recipe import Batching, Pairing
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.align.groups import group_numbers, similar_sets
from vidapt.training.align.order import PairOrder

WORDS = st.sets(st.sampled_from("abcdefgh"), max_size=6)


def clip(number: int, texts: list[str], fact: str = "") -> ClipCaptions:
    media = (Clip(str(number), Path(str(number))),)
    count = len(texts)
    return ClipCaptions(media, tuple(texts), ("t",) * count, ((1, 2),) * count, ((),) * count, fact)


@st.composite
def stages(draw: st.DrawFn) -> tuple[list[ClipCaptions], list[int], Batching, int]:
    counts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=30))
    clips = [clip(number, [f"{number} {i}" for i in range(count)]) for number, count in enumerate(counts)]
    groups = [draw(st.integers(0, 5)) for _ in clips]
    batching = Batching(clips=draw(st.integers(1, 9)), questions=draw(st.none() | st.integers(1, 4)))
    return clips, groups, batching, draw(st.integers(0, 3))


@given(stages(), st.sampled_from(["any", "apart", "together"]))
def test_every_epoch_covers_every_caption_exactly_once(
    made: tuple[list[ClipCaptions], list[int], Batching, int], batches: str
) -> None:
    clips, groups, batching, seed = made
    order = PairOrder(clips, groups, batching, Pairing.model_validate({"batches": batches}), (seed, 0))
    every = {(number, caption) for number, one in enumerate(clips) for caption in range(len(one.ids))}
    for epoch in range(2):
        steps = [order.step(epoch * order.steps_per_epoch + place) for place in range(order.steps_per_epoch)]
        seen = Counter((visit.clip, caption) for step in steps for visit in step for caption in visit.samples)
        assert seen == Counter(every)
        sizes = [len(step) for step in steps]
        assert max(sizes) <= batching.clips
        assert max(sizes) - min(sizes) <= 1
        limit = batching.questions or math.inf
        assert all(0 < len(visit.samples) <= limit for step in steps for visit in step)


@given(stages())
def test_look_alikes_are_as_far_apart_as_can_be(
    made: tuple[list[ClipCaptions], list[int], Batching, int],
) -> None:
    clips, groups, batching, seed = made
    order = PairOrder(clips, groups, batching, Pairing(batches="apart"), (seed, 0))
    steps = [order.step(place) for place in range(order.steps_per_epoch)]
    visits = Counter(groups[visit.clip] for step in steps for visit in step)
    for step in steps:
        for group, count in Counter(groups[visit.clip] for visit in step).items():
            assert count <= math.ceil(visits[group] / len(steps))


@given(stages())
def test_together_puts_a_group_in_as_few_steps_as_can_be(
    made: tuple[list[ClipCaptions], list[int], Batching, int],
) -> None:
    clips, groups, batching, seed = made
    order = PairOrder(clips, groups, batching, Pairing(batches="together"), (seed, 0))
    steps = [order.step(place) for place in range(order.steps_per_epoch)]
    smallest = min(map(len, steps))
    for group in set(groups):
        visits = sum(groups[visit.clip] == group for step in steps for visit in step)
        meets = sum(any(groups[visit.clip] == group for visit in step) for step in steps)
        assert meets <= math.ceil(max(0, visits - 1) / max(1, smallest)) + 1


@given(stages(), st.integers(0, 40))
def test_a_step_depends_on_the_seed_and_its_number_alone(
    made: tuple[list[ClipCaptions], list[int], Batching, int], number: int
) -> None:
    clips, groups, batching, seed = made
    orders = [PairOrder(clips, groups, batching, Pairing(), (seed, 0)) for _ in range(2)]
    for other in (3, 1, 11):
        orders[1].step(other)
    assert orders[0].step(number) == orders[1].step(number)


def test_two_epochs_differ() -> None:
    clips = [clip(number, ["a"]) for number in range(40)]
    order = PairOrder(clips, list(range(40)), Batching(clips=4), Pairing(), (0, 0))
    assert order.step(0) != order.step(order.steps_per_epoch)


@given(st.lists(WORDS, max_size=12), st.sampled_from([0.2, 0.5, 0.75, 0.9, 1.0]))
def test_similar_sets_are_those_of_comparing_all_pairs(sets: list[set[str]], share: float) -> None:
    frozen = [frozenset(words) for words in sets]
    wanted = {
        (a, b)
        for b in range(len(sets))
        for a in range(b)
        if sets[a] | sets[b] and len(sets[a] & sets[b]) >= share * len(sets[a] | sets[b]) - 1e-9
    }
    assert set(similar_sets(frozen, share)) == wanted


@pytest.mark.parametrize(
    ("pairing", "numbers"),
    [
        ({"alike": "clip"}, [0, 1, 2, 3]),
        ({"alike": "text"}, [0, 0, 2, 2]),
        ({"alike": "text", "similar": 0.5}, [0, 0, 0, 0]),
        ({"alike": "fact", "fact": "x"}, [0, 1, 2, 0]),
    ],
)
def test_groups_are_handed_on(pairing: dict[str, object], numbers: list[int]) -> None:
    clips = [
        clip(0, ["The red ball.", "one thing"], "p"),
        clip(1, ["red ball the", "not so"], ""),
        clip(2, ["the blue ball", "far away"], "q"),
        clip(3, ["the  blue ball!"], "p"),
    ]
    assert group_numbers(clips, Pairing.model_validate(pairing)) == numbers
