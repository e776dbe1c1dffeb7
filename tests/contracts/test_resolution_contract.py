"""What every resolution promises: the plan is known before the pixels, and the pixels keep it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.models.layout import arranged, stitched
from vidapt.nouns import Features, Grid, Plan, Tokens
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
    part = type(tiny(kind))(config, size=(other[0] * 4, other[0] * 4), width=4)
    plan = part.plan(size, frames)
    decoded = plan.decode or size
    pixels = torch.randint(0, 256, (frames, *decoded, 3), dtype=torch.uint8)
    views = part.cut(pixels, plan)
    assert [tuple(view.shape) for view in views] == [(frames, 3, *view.size) for view in plan.views]
    assert all(view.dtype in (torch.uint8, torch.float32) for view in views)
    assert all(view.min() >= 0 and view.max() <= 255 for view in views)


@pytest.mark.parametrize("kind", KINDS)
@given(size=SIZES, frames=st.integers(1, 100))
@settings(max_examples=40, deadline=None)
def test_plan_is_plain_integers_and_repeatable(kind: str, size: tuple[int, int], frames: int) -> None:
    part = tiny(kind)
    plan = part.plan(size, frames)
    assert isinstance(plan, Plan)
    assert plan == part.plan(size, frames)
    assert plan.frames == frames
    assert plan.size == size
    assert plan.views
    sides = [side for view in plan.views for side in view.size] + list(plan.decode or ())
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
@given(size=SIZES, frames=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_is_read_is_known_before_it_is_seen(kind: str, size: tuple[int, int], frames: int) -> None:
    part = type(tiny(kind))(tiny(kind).cfg, size=(8, 8), width=4)
    plan = part.plan(size, frames)
    grids = [Grid(frames, *cells(view.size)) for view in plan.views]
    seen = [Features(torch.randn(2, grid.t, grid.h, grid.w, 4)) for grid in grids]
    calls, foreseen = part.stitch(seen, plan), stitched(part, grids, plan)
    assert [tuple(f.grid for f in call) for call in calls] == foreseen
    tokens = [Tokens(call[0].x.flatten(1, 3), call[0].grid) for call in calls]
    read = part.arrange(tokens, plan)
    expected = arranged(part, [(call[0], 0) for call in foreseen], plan)
    assert tuple(piece if isinstance(piece, str) else (piece.grid, piece.extra) for piece in read) == expected
    assert any(not isinstance(piece, str) for piece in read)
    assert all(piece.x.shape[0] == 2 for piece in read if not isinstance(piece, str))


def cells(size: tuple[int, int]) -> tuple[int, int]:
    """Of a tower with patches of 4 pixels."""
    return max(1, size[0] // 4), max(1, size[1] // 4)
