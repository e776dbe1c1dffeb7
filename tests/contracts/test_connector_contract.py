"""What every connector promises: the number of tokens is known from the grid alone."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.nouns import Features, Grid
from vidapt.parts import kinds

KINDS = kinds("connectors")
GRIDS = st.builds(Grid, st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))


def build(kind: str, width_in: int, width_out: int) -> tuple[Any, int]:
    """A connector, and how many towers it reads: one that reads two refuses a single width."""
    torch.manual_seed(0)
    module = importlib.import_module(f"vidapt.connectors.{kind}")
    part, config = module.Part, module.tiny().cfg
    try:
        return part(config, width_in=width_in, width_out=width_out).eval(), 1
    except ValueError:
        return part(config, width_in=(width_in, width_in), width_out=width_out).eval(), 2


@pytest.mark.parametrize("kind", KINDS)
@given(grid=GRIDS, clips=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_forward_keeps_the_promise_of_plan(kind: str, grid: Grid, clips: int) -> None:
    connector, towers = build(kind, 16, 8)
    promised, extra = connector.plan(*[grid] * towers)
    tokens = connector(*(Features(torch.randn(clips, grid.t, grid.h, grid.w, 16)) for _ in range(towers)))
    assert (tokens.grid, tokens.extra) == (promised, extra)
    assert tokens.x.shape == (clips, promised.cells + extra, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_in_a_batch_do_not_mix(kind: str) -> None:
    connector, towers = build(kind, 16, 8)
    seen = torch.randn(towers, 3, 2, 4, 4, 16)
    together = connector(*map(Features, seen)).x
    alone = torch.cat([connector(*map(Features, seen[:, at : at + 1])).x for at in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_the_features(kind: str) -> None:
    connector, towers = build(kind, 16, 8)
    seen = torch.randn(towers, 1, 2, 4, 4, 16, requires_grad=True)
    connector(*map(Features, seen)).x.square().sum().backward()
    assert seen.grad is not None
    assert all(tower.abs().sum() > 0 for tower in seen.grad)
    assert not [name for name, p in connector.named_parameters() if p.grad is None]
