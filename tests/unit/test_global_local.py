"""What `global_local` cuts and merges, and what its connector makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.connectors.global_local import Part as Connector
from vidapt.models.layout import stitched
from vidapt.nouns import Features, Grid, Plan, View
from vidapt.resolutions._resize import resize
from vidapt.resolutions.global_local import GRIDS, Part

SIDE = 8


def build(**fields: Any) -> Part:
    return Part(Part.Config(**fields), size=(SIDE, SIDE))


def joined(**fields: Any) -> Connector:
    torch.manual_seed(0)
    return Connector(Connector.Config(**fields), width_in=(6, 7), width_out=5).double()


def cells(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((8, 8), (1, 1)),
        ((1, 1), (1, 1)),
        ((16, 16), (2, 2)),
        ((16, 24), (2, 3)),
        ((24, 16), (3, 2)),
        ((8, 48), (1, 6)),
        ((1000, 50), (6, 1)),
        ((500, 500), (2, 2)),
        ((1, 5000), (1, 1)),
    ],
)
def test_the_grid_keeps_most_of_the_frame(size: tuple[int, int], grid: tuple[int, int]) -> None:
    part = build()
    assert part.grid_for(size) == grid
    tiles = (View((SIDE, SIDE), 1),) * (grid[0] * grid[1])
    assert part.plan(size, 2) == Plan(2, (View((SIDE, SIDE), 0), *tiles), size)


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
@settings(max_examples=500, deadline=None)
def test_no_other_grid_keeps_more_or_as_much_with_less_waste(size: tuple[int, int]) -> None:
    def kept(grid: tuple[int, int]) -> int:
        scale = min(grid[0] * SIDE / size[0], grid[1] * SIDE / size[1])
        return min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])

    chosen = build().grid_for(size)
    for other in GRIDS:
        worth = (kept(other), -other[0] * other[1])
        assert worth <= (kept(chosen), -chosen[0] * chosen[1])


def test_the_whole_is_squashed_and_so_is_what_tiles_are_cut_from() -> None:
    part = build()
    clip = torch.randint(0, 256, (2, 20, 36, 3), dtype=torch.uint8)
    first, *tiles = part.cut(clip, part.plan((20, 36), 2))
    assert part.grid_for((20, 36)) == (2, 3)
    frames = clip.permute(0, 3, 1, 2)
    assert torch.equal(first, resize(frames, (SIDE, SIDE), "bicubic"))
    rows = [torch.cat(tiles[:3], dim=-1), torch.cat(tiles[3:], dim=-1)]
    assert torch.equal(torch.cat(rows, dim=-2), resize(frames, (2 * SIDE, 3 * SIDE), "bicubic"))


def test_tiles_become_one_map() -> None:
    part = build()
    plan = part.plan((20, 36), 2)
    far, near = cells(1, 2, 2, 2, 6), cells(1, 2, 4, 6, 7)
    tiles = [near[:, :, r : r + 2, c : c + 2] for r in (0, 2) for c in (0, 2, 4)]
    ((first, merged),) = part.stitch([Features(far), *map(Features, tiles)], plan)
    assert torch.equal(first.x, far)
    assert torch.equal(merged.x, near)
    assert stitched(part, [Grid(2, 2, 2)] * 7, plan) == [(Grid(2, 2, 2), Grid(2, 4, 6))]


def test_each_map_goes_through_its_own_mlp_and_frames_stay_together() -> None:
    part, far, near = joined(), cells(2, 3, 2, 2, 6), cells(2, 3, 4, 2, 7)
    tokens = part(Features(far), Features(near))
    assert (tokens.grid, tokens.extra) == part.plan(Grid(3, 2, 2), Grid(3, 4, 2)) == (Grid(3, 1, 12), 0)
    for clip in range(2):
        frames = [
            torch.cat([_mlp(part.mlp_global, far[clip, t]), _mlp(part.mlp_local, near[clip, t])])
            for t in range(3)
        ]
        torch.testing.assert_close(tokens.x[clip], torch.cat(frames))


def _mlp(layers: Any, x: Tensor) -> Tensor:
    hidden = x.flatten(0, 1) @ layers[0].weight.T + layers[0].bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return hidden @ layers[2].weight.T + layers[2].bias


def test_the_second_mlp_can_start_from_the_first() -> None:
    part = Connector(Connector.Config(local_start="global"), width_in=(6, 6), width_out=5)
    x = torch.randn(1, 1, 2, 2, 6)
    first, second = part(Features(x), Features(x)).x[0].chunk(2)
    assert torch.equal(first, second)
    part.mlp_global[0].weight.data.zero_()
    assert part.mlp_local[0].weight.abs().sum() > 0, "a copy, not the same weights"
    with pytest.raises(ValueError, match="one width"):
        joined(local_start="global")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="two towers"):
        Connector(Connector.Config(), width_in=6, width_out=5)
    with pytest.raises(ValueError, match="got 1"):
        joined()(Features(cells(1, 1, 2, 2, 6)))
    with pytest.raises(ValueError, match="3 frames"):
        joined().plan(Grid(3, 2, 2), Grid(1, 2, 2))
    for grids in ((), ((0, 1),)):
        with pytest.raises(ValidationError, match="grid"):
            build(grids=grids)
