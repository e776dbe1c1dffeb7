"""What `two_scale` cuts, pairs and arranges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.models.layout import arranged, stitched
from vidapt.nouns import Features, Grid, Plan, Tokens, View
from vidapt.resolutions import pad, whole
from vidapt.resolutions.two_scale import Part

SIDE = 6


def build(**fields: Any) -> Part:
    return Part(Part.Config(**{"fine": 16, **fields}), size=(SIDE, SIDE))


HD = {"grid": 2, "overview": True}


def film(frames: int, height: int, width: int) -> Tensor:
    shape = (frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def shrunk(picture: Tensor, size: int) -> Tensor:
    """[..., H, W] in float64: each new point between its neighbours, whatever lies further away."""
    old = picture.shape[-1]
    weights = torch.zeros(size, old, dtype=torch.float64)
    for index in range(size):
        place = max(0.0, (index + 0.5) * old / size - 0.5)
        first = int(place)
        weights[index, first] += 1 - (place - first)
        weights[index, min(first + 1, old - 1)] += place - first
    return torch.einsum("ai,...ij,bj->...ab", weights, picture.double(), weights)


def test_the_plan_names_a_tower_for_each_view() -> None:
    low, high = View((SIDE, SIDE), 0), View((16, 16), 1)
    assert build().plan((30, 40), 3) == Plan(3, (low, high), (30, 40))
    assert build(**HD).plan((30, 40), 3).views == (low,) * 5 + (high,)
    assert build(grid=3).plan((30, 40), 3).views == (low,) * 9 + (high,)


@pytest.mark.parametrize("size", [(30, 40), (16, 16), (1, 50), (50, 3)])
def test_the_coarse_view_is_the_fine_one_shrunk_and_not_rounded(size: tuple[int, int]) -> None:
    part, clip = build(), film(2, *size)
    low, high = part.cut(clip, part.plan(size, 2))
    (expected,) = pad.Part(pad.Part.Config(), size=(16, 16)).cut(clip, part.plan(size, 2))
    assert torch.equal(high, expected)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), shrunk(high, SIDE), atol=1e-3, rtol=0)
    assert low.frac().abs().max() > 0.1


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_the_fine_view_can_be_cropped_or_squashed(fit: str) -> None:
    part, clip = build(fit=fit), film(1, 30, 40)
    plan = part.plan((30, 40), 1)
    (expected,) = whole.Part(whole.Part.Config(fit=fit), size=(16, 16)).cut(clip, plan)
    assert torch.equal(part.cut(clip, plan)[-1], expected)


def test_tiles_come_row_by_row_behind_an_overview_of_them() -> None:
    part, clip = build(**HD), film(2, 30, 40)
    overview, *tiles, high = part.cut(clip, part.plan((30, 40), 2))
    large = shrunk(high, 2 * SIDE)
    rows = torch.cat([torch.cat(tiles[:2], dim=-1), torch.cat(tiles[2:], dim=-1)], dim=-2)
    torch.testing.assert_close(rows.double(), large, atol=1e-3, rtol=0)
    torch.testing.assert_close(overview.double(), shrunk(large, SIDE), atol=1e-3, rtol=0)
    assert (overview.double() - shrunk(high, SIDE)).abs().max() > 1, "shrunk twice, not once"


def test_each_tile_meets_its_part_of_the_fine_map() -> None:
    part = build(**HD)
    plan = part.plan((30, 40), 2)
    low = [torch.full((3, 2, 3, 3, 5), float(index)) for index in range(5)]
    high = torch.randn(3, 2, 12, 12, 7, dtype=torch.float64)
    pairs = part.stitch([*map(Features, low), Features(high)], plan)
    assert [float(coarse.x[0, 0, 0, 0, 0]) for coarse, _ in pairs] == [0, 1, 2, 3, 4]
    (_, all_of_it), *parts = pairs
    tiles = [(slice(0, 6), slice(0, 6)), (slice(0, 6), slice(6, 12))]
    tiles += [(slice(6, 12), slice(0, 6)), (slice(6, 12), slice(6, 12))]
    for (_, fine), (rows, columns) in zip(parts, tiles, strict=True):
        assert torch.equal(fine.x, high[:, :, rows, columns])
    halved = shrunk(high.permute(0, 1, 4, 2, 3), 6).permute(0, 1, 3, 4, 2)
    torch.testing.assert_close(all_of_it.x, halved)
    grids = stitched(part, [Grid(2, 3, 3)] * 5 + [Grid(2, 12, 12)], plan)
    assert grids == [(Grid(2, 3, 3), Grid(2, 6, 6))] * 5


def test_frames_stay_one_after_the_other() -> None:
    part = build(**HD)
    plan = part.plan((30, 40), 2)
    x = torch.arange(5 * 2 * 4).reshape(5, 1, 8, 1)  # view, clip, frame and cell
    (read,) = part.arrange([Tokens(view, Grid(2, 2, 2)) for view in x], plan)
    assert not isinstance(read, str)
    assert read.grid == Grid(2, 10, 2)
    frames = [[8 * view + 4 * frame + cell for view in range(5) for cell in range(4)] for frame in range(2)]
    assert read.x.flatten().tolist() == frames[0] + frames[1]
    assert arranged(part, [(Grid(2, 2, 2), 0)] * 5, plan) == ((Grid(2, 10, 2), 0),)


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), frames=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_every_size_is_planned_alike(size: tuple[int, int], frames: int) -> None:
    for part, calls in ((build(), 1), (build(**HD), 5), (build(grid=3), 9)):
        plan = part.plan(size, frames)
        grids = stitched(part, [Grid(frames, 2, 2)] * calls + [Grid(frames, 12, 12)], plan)
        ((grid, extra),) = arranged(part, [(coarse, 0) for coarse, _ in grids], plan)
        assert (grid.cells, extra) == (frames * calls * 4, 0)


def test_what_cannot_be_arranged_is_refused() -> None:
    part = build(**HD)
    plan = part.plan((30, 40), 1)
    with pytest.raises(ValueError, match="2x2 tiles"):
        stitched(part, [Grid(1, 2, 2)] * 5 + [Grid(1, 9, 9)], plan)
    with pytest.raises(ValueError, match="without extra"):
        arranged(part, [(Grid(1, 2, 2), 1)] * 5, plan)
    with pytest.raises(ValidationError, match="overview"):
        build(overview=True)
