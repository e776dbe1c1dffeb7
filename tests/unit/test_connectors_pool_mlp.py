"""Numbers of `pool_mlp`, against equations written plainly in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from vidapt.connectors.pool_mlp import Part
from vidapt.nouns import Features, Grid


def build(width_in: int = 6, width_out: int = 5, **fields: Any) -> Part:
    torch.manual_seed(0)
    return Part(Part.Config(**fields), width_in=width_in, width_out=width_out).double()


def cells(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def mlp(part: Part, x: Tensor) -> Tensor:
    """x -> W2 gelu(W1 x + b1) + b2 with the exact GELU, x Phi(x)."""
    first, last = part.mlp[0], part.mlp[2]
    hidden = x @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return hidden @ last.weight.T + last.bias


def bins(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Cell i of n covers floor(i * size / n) up to ceil((i + 1) * size / n), on each axis."""
    for axis, target in enumerate(shape, start=1):
        size = x.shape[axis]
        spans = [(i * size // target, -(-(i + 1) * size // target)) for i in range(target)]
        x = torch.stack([x.narrow(axis, a, b - a).mean(dim=axis) for a, b in spans], dim=axis)
    return x


def test_llava_maps_every_cell_by_itself() -> None:
    part, x = build(), cells(2, 3, 4, 5, 6)
    tokens = part(Features(x))
    assert tokens.grid == Grid(3, 4, 5)
    torch.testing.assert_close(tokens.x, mlp(part, x).flatten(1, 3))


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 5), (1, 1, 1), (5, 4, 4)])
def test_adaptive_pooling_averages_uneven_bins(shape: tuple[int, int, int]) -> None:
    x = cells(2, 4, 5, 7, 6)
    part = build(pool="adaptive3d", shape=shape, order="mlp_first")
    tokens = part(Features(x))
    assert tokens.grid == Grid(*shape)
    torch.testing.assert_close(tokens.x, bins(mlp(part, x), shape).flatten(1, 3))
    before = build(pool="adaptive3d", shape=shape, order="pool_first")
    torch.testing.assert_close(before(Features(x)).x, mlp(before, bins(x, shape)).flatten(1, 3))
    assert not torch.allclose(before(Features(x)).x, tokens.x, atol=1e-3)


@given(
    grid=st.builds(Grid, st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    pool=st.sampled_from(["none", "adaptive3d"]),
    order=st.sampled_from(["pool_first", "mlp_first"]),
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    depth=st.integers(1, 3),
    clips=st.integers(1, 2),
)
@settings(max_examples=120, deadline=None)
def test_every_combination_keeps_its_promise(
    grid: Grid,
    pool: str,
    order: str,
    extra: tuple[int, int],
    depth: int,
    clips: int,
) -> None:
    shape = (2, 3, 2) if pool == "adaptive3d" else None
    per_clip, per_frame = extra
    part = build(
        pool=pool,
        order=order,
        shape=shape,
        depth=depth,
        extra_per_clip=per_clip,
        extra_per_frame=per_frame,
    )
    count = per_clip + per_frame * grid.t
    seen = Features(cells(clips, grid.t, grid.h, grid.w, 6), cells(clips, count, 6) if count else None)
    promised, extras = part.plan(grid)
    tokens = part(seen)
    assert (tokens.grid, tokens.extra) == (promised, extras)
    assert tokens.x.shape == (clips, promised.cells + extras, 5)


@pytest.mark.parametrize("extra", [None, cells(1, 2, 6)])
def test_tokens_that_were_not_configured_are_refused(extra: Tensor | None) -> None:
    with pytest.raises(ValueError, match="1 extra tokens"):
        build(extra_per_clip=1)(Features(cells(1, 1, 2, 2, 6), extra))


def test_two_towers_are_refused() -> None:
    seen = Features(cells(1, 1, 2, 2, 6))
    with pytest.raises(ValueError, match="one tower"):
        build()(seen, seen)


@pytest.mark.parametrize(
    "fields",
    [{"pool": "adaptive3d"}, {"shape": (1, 1, 1)}, {"pool": "adaptive3d", "shape": (0, 1, 1)}],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Part.Config(**fields)
