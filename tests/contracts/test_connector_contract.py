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


def build(kind: str, width_in: int, width_out: int) -> Any:
    torch.manual_seed(0)
    module = importlib.import_module(f"vidapt.connectors.{kind}")
    return module.Part(module.tiny().cfg, width_in=width_in, width_out=width_out).eval()


@pytest.mark.parametrize("kind", KINDS)
@given(grid=GRIDS, clips=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_forward_keeps_the_promise_of_plan(kind: str, grid: Grid, clips: int) -> None:
    connector = build(kind, 16, 8)
    promised, extra = connector.plan(grid)
    tokens = connector(Features(torch.randn(clips, grid.t, grid.h, grid.w, 16)))
    assert (tokens.grid, tokens.extra) == (promised, extra)
    assert tokens.x.shape == (clips, promised.cells + extra, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_clips_in_a_batch_do_not_mix(kind: str) -> None:
    connector = build(kind, 16, 8)
    x = torch.randn(3, 2, 4, 4, 16)
    together = connector(Features(x)).x
    alone = torch.cat([connector(Features(clip[None])).x for clip in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_the_features(kind: str) -> None:
    connector = build(kind, 16, 8)
    x = torch.randn(1, 2, 4, 4, 16, requires_grad=True)
    connector(Features(x)).x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not [name for name, p in connector.named_parameters() if p.grad is None]
