"""Numbers of `patch_mining`, against its equation written cell by cell in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidapt.connectors.patch_mining import Part
from vidapt.nouns import Features, Grid

COARSE, FINE, WORDS = 6, 10, 5


def build(**fields: int) -> Part:
    torch.manual_seed(0)
    part = Part(Part.Config(**fields), width_in=(COARSE, FINE), width_out=WORDS).double()
    with torch.no_grad():
        for parameter in part.parameters():  # norms other than 1 and 0, and weights that choose
            parameter.add_(torch.randn_like(parameter))
    return part


def maps(t: int, h: int, w: int, down: int, across: int, clips: int = 2) -> tuple[Features, Features]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((clips, t, h, w, COARSE), (clips, t, h * down, w * across, FINE))
    low, high = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return Features(low), Features(high)


def expected(part: Part, low: Tensor, high: Tensor) -> Tensor:
    """[h, w, C] and [H, W, C'] of one frame -> [h w, D]."""
    h, w = low.shape[:2]
    down, across = high.shape[0] // h, high.shape[1] // w
    made = []
    for row in range(h):
        for column in range(w):
            x = low[row, column]
            band = high[row * down : (row + 1) * down]
            inside = band[:, column * across : (column + 1) * across].flatten(0, 1)
            q, k, v = part.query(x), part.key(inside), part.value(inside)
            weights = torch.exp(k @ q / COARSE**0.5)
            made.append(part.mlp(x + (weights / weights.sum()) @ v))
    return torch.stack(made)


@pytest.mark.parametrize("shape", [(1, 2, 2, 3, 3), (2, 3, 2, 2, 4), (3, 1, 1, 8, 8), (1, 2, 3, 1, 1)])
@pytest.mark.parametrize("at_once", [1, 2])
def test_every_cell_asks_the_cells_inside_it(shape: tuple[int, ...], at_once: int) -> None:
    part, (low, high) = build(frames_at_once=at_once), maps(*shape)
    tokens = part(low, high)
    assert (tokens.grid, tokens.extra) == part.plan(low.grid, high.grid) == (low.grid, 0)
    for clip in range(2):
        frames = [expected(part, low.x[clip, t], high.x[clip, t]) for t in range(shape[0])]
        torch.testing.assert_close(tokens.x[clip], torch.cat(frames))


def test_an_mlp_of_one_layer_is_a_linear_map() -> None:
    part, (low, high) = build(depth=1), maps(1, 2, 2, 2, 2)
    torch.testing.assert_close(part(low, high).x[0], expected(part, low.x[0, 0], high.x[0, 0]))


def test_a_cell_outside_is_not_asked() -> None:
    part, (low, high) = build(), maps(1, 2, 2, 3, 3)
    before = part(low, high).x
    high.x[:, :, 4, 1] *= -1
    changed = (part(low, high).x - before).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [False, False, True, False]


@given(
    coarse=st.builds(Grid, st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)),
    fine=st.builds(Grid, st.integers(1, 4), st.integers(1, 16), st.integers(1, 16)),
)
@settings(max_examples=500, deadline=None)
def test_a_map_that_does_not_divide_is_refused_in_integers(coarse: Grid, fine: Grid) -> None:
    part = Part(Part.Config(), width_in=(1, 1), width_out=1)
    if coarse.t == fine.t and fine.h % coarse.h == 0 and fine.w % coarse.w == 0:
        assert part.plan(coarse, fine) == (coarse, 0)
    else:
        with pytest.raises(ValueError, match="divide"):
            part.plan(coarse, fine)


def test_one_tower_or_one_map_is_refused() -> None:
    for widths in (6, (6,), (6, 6, 6)):
        with pytest.raises(ValueError, match="two towers"):
            Part(Part.Config(), width_in=widths, width_out=5)
    with pytest.raises(ValueError, match="got 1"):
        build()(maps(1, 1, 1, 1, 1)[0])
    with pytest.raises(ValueError, match="got 1"):
        build().plan(Grid(1, 1, 1))
