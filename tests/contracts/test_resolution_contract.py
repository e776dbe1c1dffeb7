"""What every resolution promises: the plan is known before the pixels, and the pixels keep it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.nouns import Features, Plan
from vidapt.parts import kinds

SIZES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(1, 1), (1, 400), (400, 1), (3, 200), (97, 2)]),
)
KINDS = kinds("resolutions")


def tiny(kind: str) -> Any:
    return importlib.import_module(f"vidapt.resolutions.{kind}").tiny()


@pytest.mark.parametrize("kind", KINDS)
@given(size=SIZES, frames=st.integers(1, 3), other=st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(max_examples=40, deadline=None)
def test_views_have_the_planned_shapes(kind: str, size: tuple[int, int], frames: int, other: Any) -> None:
    config = tiny(kind).cfg
    part = type(tiny(kind))(config, size=(other[0] * 4, other[0] * 4))
    plan = part.plan(size, frames)
    decoded = plan.decode or size
    pixels = torch.randint(0, 256, (frames, *decoded, 3), dtype=torch.uint8)
    views = part.cut(pixels, plan)
    assert [tuple(view.shape) for view in views] == [(frames, 3, *view) for view in plan.views]
    assert all(view.dtype == torch.uint8 for view in views)


@pytest.mark.parametrize("kind", KINDS)
@given(size=SIZES, frames=st.integers(1, 100))
@settings(max_examples=40, deadline=None)
def test_plan_is_plain_integers_and_repeatable(kind: str, size: tuple[int, int], frames: int) -> None:
    part = tiny(kind)
    plan = part.plan(size, frames)
    assert isinstance(plan, Plan)
    assert plan == part.plan(size, frames)
    assert plan.frames == frames
    sides = [side for view in plan.views for side in view] + list(plan.decode or ())
    assert sides
    assert all(type(side) is int and side > 0 for side in sides)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_colour_stays_flat(kind: str) -> None:
    """No filter may ring on, or bleed into, a frame that has nothing in it."""
    part = tiny(kind)
    colour = getattr(part.cfg, "colour", (9, 200, 77))
    pixels = torch.tensor(colour, dtype=torch.uint8).expand(2, 13, 17, 3)
    plan = part.plan((13, 17), 2)
    for view in part.cut(pixels, plan):
        assert (view == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "frames"), [((0, 5), 1), ((5, 0), 1), ((5, 5), 0)])
def test_a_clip_without_pixels_is_refused(kind: str, size: tuple[int, int], frames: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        tiny(kind).plan(size, frames)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(3, 9, 9, 3, dtype=torch.uint8),
        torch.zeros(2, 3, 9, 9, dtype=torch.uint8),
        torch.zeros(2, 9, 9, 3),
    ],
    ids=["one frame too many", "channels first", "floats"],
)
def test_pixels_that_were_not_planned_are_refused(kind: str, pixels: torch.Tensor) -> None:
    part = tiny(kind)
    with pytest.raises(ValueError, match=r"frames"):
        part.cut(pixels, part.plan((9, 9), 2))


@pytest.mark.parametrize("kind", KINDS)
def test_stitch_keeps_the_number_of_clips_and_the_width(kind: str) -> None:
    part = tiny(kind)
    plan = part.plan((20, 30), 2)
    seen = [Features(torch.randn(3, 2, 2, 2, 5)) for _ in plan.views]
    stitched = part.stitch(seen, plan)
    assert stitched
    assert all(f.x.shape[0] == 3 and f.x.shape[-1] == 5 for f in stitched)
