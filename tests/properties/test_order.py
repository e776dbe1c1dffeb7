"""Which clips each step of a stage sees."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Batching
from vidapt.training.data import ClipSamples
from vidapt.training.order import Order


def clip(number: int, questions: int = 1) -> ClipSamples:
    media = (Clip(str(number), Path(f"{number}.mp4")),)
    turns = (Turn("user", "what?"), Turn("assistant", "that."))
    return ClipSamples(media, tuple(Sample(f"{number}/{i}", media, turns) for i in range(questions)), ())


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_every_epoch_visits_every_clip_once(clips: int, size: int, epoch: int) -> None:
    order = Order([clip(number) for number in range(clips)], Batching(clips=size), (7, 0))
    assert order.steps_per_epoch == math.ceil(clips / size)
    first = epoch * order.steps_per_epoch
    steps = [order.step(first + place) for place in range(order.steps_per_epoch)]
    assert Counter(visit.clip for step in steps for visit in step) == Counter(range(clips))
    sizes = {len(step) for step in steps}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(2, 20), st.integers(1, 6), st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_step_does_not_depend_on_which_steps_were_asked_for_before(
    clips: int, size: int, asked: list[int]
) -> None:
    members = [clip(number, questions=3) for number in range(clips)]
    batching = Batching(clips=size, questions=2)
    order = Order(members, batching, (7, 0))
    assert [order.step(number) for number in asked] == [
        Order(members, batching, (7, 0)).step(number) for number in asked
    ]


def test_epochs_and_seeds_differ() -> None:
    members = [clip(number) for number in range(30)]
    order = Order(members, Batching(clips=30), (7, 0))
    other = Order(members, Batching(clips=30), (8, 0))
    assert len({tuple(v.clip for v in steps) for steps in (order.step(0), order.step(1), other.step(0))}) == 3
