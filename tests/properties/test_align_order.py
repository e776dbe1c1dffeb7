"""Whatever the captions and groups: an epoch covers every caption once, and look-alikes keep apart."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.text import common_in_order
from vidapt.nouns import Clip
from vidapt.recipe import Batching, Pairing
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.align.groups import candidates, group_numbers, in_order
from vidapt.training.align.order import PairOrder

TEXT = st.lists(st.sampled_from("abc"), max_size=7)
LEXICON = [f"w{number}" for number in range(400)]


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


@given(TEXT, TEXT)
def test_words_in_order_are_counted(one: list[str], other: list[str]) -> None:
    """The longest common subsequence, by trying all of them."""

    def tries(words: list[str]) -> set[tuple[str, ...]]:
        return {kept for size in range(len(words) + 1) for kept in combinations(words, size)}

    assert common_in_order(one, other) == max(map(len, tries(one) & tries(other)))


@given(st.sampled_from([0.5, 0.75, 0.9]), st.integers(0, 9))
def test_pairs_that_are_alike_are_candidates(share: float, seed: int) -> None:
    """But for one in a hundred, of those that are just alike enough."""
    rng = random.Random(seed)
    texts: dict[tuple[str, ...], None] = {}
    pairs = []
    for _ in range(60):
        one = [rng.choice(LEXICON) for _ in range(rng.randint(8, 30))]
        other = list(one)
        while in_order(one, other) >= share:
            kept = tuple(other)
            other[rng.randrange(len(other))] = rng.choice(LEXICON)
        if tuple(one) != kept:
            texts |= {tuple(one): None, kept: None}
            pairs.append((tuple(one), kept))
    places = {words: place for place, words in enumerate(texts)}
    found = {frozenset(pair) for pair in candidates(list(texts), share)}
    hit = [frozenset((places[one], places[other])) in found for one, other in pairs]
    assert sum(hit) >= 0.93 * len(hit)


def test_the_order_of_words_tells_captions_apart() -> None:
    texts = [
        "The red ball hits the blue ball.",
        "the blue ball hits the red ball",
        "the red ball hits the blue ball",
    ]
    clips = [clip(number, [text]) for number, text in enumerate(texts)]
    for similar in (1.0, 0.9, 0.6):
        assert group_numbers(clips, Pairing(alike="text", similar=similar)) == [0, 1, 0]


def test_near_duplicates_of_near_duplicates_are_not_all_one_group() -> None:
    """A chain through all captions, each of which is like the next; equal ones stay together."""
    words = [f"w{number}" for number in range(430)]
    clips = [clip(number, [" ".join(words[number : number + 30])]) for number in range(400)]
    clips += [clip(400 + number, [" ".join(words[:30])]) for number in range(60)]
    sizes = Counter(group_numbers(clips, Pairing(alike="text", similar=0.9)))
    assert max(sizes.values()) == 61
    assert sorted(sizes.values())[-2] <= 0.05 * len(clips)
    assert len(sizes) < 200


def test_captions_of_a_narrow_domain_take_seconds() -> None:
    """Time grows with the number of captions: comparing all pairs of these took 39 s."""
    rng = random.Random(0)
    verbs, balls = ["hits", "misses", "follows"], ["red", "blue", "green", "black", "white", "pink"]
    said = [
        ", then ".join(
            f"the {rng.choice(balls)} ball {rng.choice(verbs)} the {rng.choice(balls)} ball" for _ in range(4)
        )
        for _ in range(4000)
    ]
    clips = [clip(number, [text]) for number, text in enumerate(said)]
    began = time.process_time()
    group_numbers(clips, Pairing(alike="text", similar=0.9))
    assert time.process_time() - began < 15


@pytest.mark.parametrize(
    ("pairing", "numbers"),
    [
        ({"alike": "clip"}, [0, 1, 2, 3]),
        ({"alike": "text"}, [0, 1, 2, 2]),
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
