"""Whatever a clip is like, what is shown of it is bounded, and every frame belongs to one segment."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.chat.asked import Picture
from vidapt.nouns import Clip
from vidapt.teaching.footage import Footage, Look, frame_count, segments
from vidapt.teaching.settings import Facts, Shown
from vidapt.video import smaller

LENGTH = st.floats(0, 50_000)
FACTS = st.builds(Facts, segment_s=st.floats(0.1, 100), most_segments=st.integers(1, 40))


@given(length=LENGTH, facts=FACTS)
def test_segments_cover_a_clip_and_are_equal(length: float, facts: Facts) -> None:
    found = segments(length, facts)
    assert 1 <= len(found) <= facts.most_segments
    assert (found[0][0], found[-1][1]) == (0.0, pytest.approx(length))
    assert all(one[1] == other[0] for one, other in pairwise(found))
    widths = [end - start for start, end in found]
    assert max(widths) - min(widths) <= 1e-6 * max(1.0, length)
    if len(found) < facts.most_segments:
        assert max(widths) <= 1.5 * facts.segment_s + 1e-6


@given(length=LENGTH, facts=FACTS, count=st.integers(1, 60))
def test_every_frame_belongs_to_exactly_one_segment(length: float, facts: Facts, count: int) -> None:
    moments = [round((at + 0.5) * length / count, 3) for at in range(count)]
    pictures = tuple(Picture(b"", moment, (1, 1), str(at)) for at, moment in enumerate(moments))
    look = Look("k", Clip("c", Path("c")), "", length, (1, 1), 0.0)
    footage = Footage(look, pictures, segments(length, facts))
    shared = [one for number in range(len(footage.segments)) for one in footage.of_segment(number)]
    assert shared == list(pictures)


@given(
    length=LENGTH,
    movement=st.floats(0, 255),
    every=st.none() | st.floats(0.01, 1000),
    moving=st.floats(1, 16),
    count=st.integers(1, 32),
    times=st.floats(1, 16),
)
def test_frames_are_bounded_and_no_fewer_than_the_baseline(
    length: float, movement: float, every: float | None, moving: float, count: int, times: float
) -> None:
    shown = Shown(count=count, every_s=every, moving=moving, cap=32)
    found = frame_count(length, movement, shown, times)
    assert found == 1 if length == 0 else count <= found <= 32
    assert found >= frame_count(length, 0.0, shown)


@given(height=st.integers(1, 8000), width=st.integers(1, 8000), side=st.integers(32, 4096))
def test_no_frame_is_made_larger(height: int, width: int, side: int) -> None:
    small = smaller((height, width), side)
    assert max(small) <= max(1, min(side, max(height, width)))
    assert min(small) >= 1
    if max(height, width) <= side:
        assert small == (height, width)
