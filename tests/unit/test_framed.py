"""Numbers of the resolution `framed`, against equations written plainly in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vidapt.nouns import Features, Grid, Plan, Tokens
from vidapt.resolutions.framed import Part

WIDTH = 5


def build(**fields: Any) -> Part:
    torch.manual_seed(0)
    return Part(Part.Config(**fields), size=(8, 8), width=WIDTH).double()


def cells(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def blocks(x: Tensor, stride: int) -> Tensor:
    n, t, h, w, c = x.shape
    kept = x[:, :, : h // stride * stride, : w // stride * stride]
    return kept.reshape(n, t, h // stride, stride, w // stride, stride, c).mean(dim=(3, 5))


def read(part: Part, x: Tensor, extra: Tensor | None = None) -> Tokens:
    """What is read where the connector changes nothing."""
    plan = Plan(x.shape[1], (), (8, 8))
    ((seen,),) = part.stitch([Features(x, extra)], plan)
    pieces = [seen.x.flatten(1, 3)] if seen.extra is None else [seen.x.flatten(1, 3), seen.extra]
    count = 0 if seen.extra is None else seen.extra.shape[1]
    (piece,) = part.arrange([Tokens(torch.cat(pieces, dim=1), seen.grid, count)], plan)
    assert isinstance(piece, Tokens)
    return piece


@pytest.mark.parametrize("order", ["pool_first", "connector_first"])
@pytest.mark.parametrize("stride", [2, 3])
def test_average_drops_an_incomplete_row(order: str, stride: int) -> None:
    x = cells(2, 2, 7, 6, WIDTH)
    found = read(build(pool="average", stride=stride, order=order), x)
    torch.testing.assert_close(found.x, blocks(x, stride).flatten(1, 3))
    assert found.grid == Grid(2, 7 // stride, 6 // stride)


def test_max_takes_the_largest() -> None:
    x = cells(1, 2, 4, 4, WIDTH)
    expected = x.reshape(1, 2, 2, 2, 2, 2, WIDTH).amax(dim=(3, 5))
    torch.testing.assert_close(read(build(pool="max"), x).x, expected.flatten(1, 3))


def test_a_grid_below_the_stride_is_averaged_whole() -> None:
    x = cells(1, 2, 2, 1, WIDTH)
    torch.testing.assert_close(read(build(pool="average", stride=3), x).x, x.mean(dim=(2, 3)))


def test_bilinear_rounds_up_and_of_an_even_grid_is_the_mean_of_the_middle_cells() -> None:
    assert read(build(pool="bilinear"), cells(1, 2, 27, 27, WIDTH)).grid == Grid(2, 14, 14)
    x = cells(1, 1, 4, 4, WIDTH)
    torch.testing.assert_close(read(build(pool="bilinear"), x).x, blocks(x, 2).flatten(1, 3))


@pytest.mark.parametrize(
    ("mode", "grid", "extra", "step"),
    [("grid", Grid(2, 3, 5), 0, 5), ("frame", Grid(2, 1, 13), 0, 13), ("one", Grid(2, 3, 4), 1, 25)],
)
def test_newlines_stand_where_the_mode_says(mode: str, grid: Grid, extra: int, step: int) -> None:
    part = build(newline=mode)
    found = read(part, cells(2, 2, 3, 4, WIDTH))
    assert (found.grid, found.extra) == (grid, extra)
    marks = [at for at, token in enumerate(found.x[1]) if torch.equal(token, part.newline)]
    assert marks == list(range(step - 1, found.x.shape[1], step))


@pytest.mark.parametrize("mode", ["grid", "frame", "one"])
def test_without_its_newlines_the_order_of_cells_is_unchanged(mode: str) -> None:
    x, proxies = cells(1, 2, 3, 4, WIDTH), cells(1, 2, WIDTH) + 9
    part = build(newline=mode)
    tokens = read(part, x, proxies).x[0]
    kept = torch.stack([token for token in tokens if not torch.equal(token, part.newline)])
    torch.testing.assert_close(kept, torch.cat([x.flatten(1, 3), proxies], dim=1)[0])
