"""Frames changed for controls: the same ones in another order, or one of them all along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidapt.inference.changed import CHANGES
from vidapt.nouns import Clip, Frames


def frames(count: int) -> Frames:
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return Frames(pixels, np.arange(count) / 4)


@given(st.integers(1, 12), st.text(max_size=8))
def test_shuffled_frames_are_the_same_ones_in_another_order(count: int, name: str) -> None:
    clip, before = Clip(name, Path("x.mp4")), frames(count)
    after = CHANGES["shuffled_frames"](clip, before)
    order = after.pixels[:, 0, 0, 0].tolist()
    assert sorted(order) == list(range(count))
    assert (order == list(range(count))) is (count == 1)
    assert after.times_s.tolist() == before.times_s.tolist()
    assert np.array_equal(CHANGES["shuffled_frames"](clip, before).pixels, after.pixels)


@given(st.integers(1, 12))
def test_one_frame_stands_in_the_place_of_all(count: int) -> None:
    after = CHANGES["one_frame"](Clip("a", Path("x.mp4")), frames(count))
    assert set(after.pixels[:, 0, 0, 0].tolist()) == {count // 2}
    assert len(after) == count
