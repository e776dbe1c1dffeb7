"""`native` with limits over clips has the sides of Qwen3-VL's own processor, counted from sizes alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from vidapt.resolutions.native import Part

BLOCK = 32 * 32
LIMITS: dict[str, Any] = {"factor": 32, "min_pixels": 128 * BLOCK, "max_pixels": 768 * BLOCK, "over": "clip"}
RELEASED = {**LIMITS, "min_pixels": 4096, "max_pixels": 25_165_824}


def side_of(part: Part, size: tuple[int, int], frames: int) -> tuple[int, int]:
    (view,) = part.plan(size, frames).views
    return view.size


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    short = draw(st.integers(1, 4000))
    long = draw(st.integers(short, min(190 * short, 12_000)))
    return (short, long) if draw(st.booleans()) else (long, short)


@pytest.mark.parametrize("limits", [LIMITS, RELEASED])
@given(size=sizes(), frames=st.integers(2, 800))
@settings(max_examples=400, deadline=None)
def test_sides_are_the_processors(limits: dict[str, Any], size: tuple[int, int], frames: int) -> None:
    part = Part(Part.Config(**limits))
    least, most = limits["min_pixels"], limits["max_pixels"]
    assert side_of(part, size, frames) == smart_resize(
        frames, *size, factor=32, min_pixels=least, max_pixels=most
    )


@given(size=sizes(), frames=st.integers(2, 800))
@settings(max_examples=400, deadline=None)
def test_capped_sides_are_the_processors(size: tuple[int, int], frames: int) -> None:
    part = Part(Part.Config(**RELEASED, frame_pixels=768 * BLOCK))
    each = max(min(768 * BLOCK, RELEASED["max_pixels"] // frames), int(4096 * 1.05))
    assert side_of(part, size, frames) == smart_resize(
        frames, *size, factor=32, min_pixels=4096, max_pixels=each * frames
    )


@given(size=sizes(), frames=st.integers(1, 800))
@settings(max_examples=500, deadline=None)
def test_a_clip_stays_within_its_budget_as_far_as_blocks_allow(size: tuple[int, int], frames: int) -> None:
    height, width = side_of(Part(Part.Config(**RELEASED)), size, frames)
    assert height % 32 == width % 32 == 0
    assert (
        min(height, width) == 32 or frames * height * width <= RELEASED["max_pixels"] * (frames + 1) / frames
    )


def test_a_short_clip_uses_the_budget_unless_frames_are_capped() -> None:
    free, capped = Part(Part.Config(**RELEASED)), Part(Part.Config(**RELEASED, frame_pixels=768 * BLOCK))
    assert math.prod(side_of(free, (1080, 1920), 8)) > 2 * 768 * BLOCK
    assert math.prod(side_of(capped, (1080, 1920), 8)) <= 768 * BLOCK
    assert side_of(free, (1080, 1920), 768) == side_of(capped, (1080, 1920), 768)


def test_a_lone_frame_counts_as_a_slice() -> None:
    part = Part(Part.Config(**LIMITS))
    assert side_of(part, (320, 640), 1) == side_of(part, (320, 640), 2)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({**LIMITS, "total_pixels": 10**6}, "max_pixels is the total"),
        ({"frame_pixels": 10**6}, "that is max_pixels"),
    ],
)
def test_limits_of_two_kinds_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Part.Config(**fields)
