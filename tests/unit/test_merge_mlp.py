"""`merge_mlp` is Qwen2-VL's merger, on a grid in natural order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchMerger

from vidapt.connectors.merge_mlp import Part
from vidapt.nouns import Features, Grid

C, D = 6, 10


@pytest.fixture
def pair() -> tuple[Part, PatchMerger]:
    torch.manual_seed(0)
    ours, theirs = Part(Part.Config(), width_in=C, width_out=D), PatchMerger(D, C)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter))
    ours.norm.load_state_dict(theirs.ln_q.state_dict())
    ours.mlp.load_state_dict(theirs.mlp.state_dict())
    return ours, theirs


def in_blocks(x: Tensor) -> Tensor:
    """[t, h, w, C] -> [t * h * w, C], 2 x 2 blocks row by row, as the original orders its patches."""
    t, h, w, _ = x.shape
    order = [
        x[time, row + down, column + right]
        for time in range(t)
        for row in range(0, h, 2)
        for column in range(0, w, 2)
        for down in (0, 1)
        for right in (0, 1)
    ]
    return torch.stack(order)


@torch.no_grad()
def test_tokens_equal_the_original(pair: tuple[Part, PatchMerger]) -> None:
    ours, theirs = pair
    x = torch.randn(2, 3, 4, 6, C)
    tokens = ours(Features(x))
    assert (tokens.grid, tokens.extra) == (Grid(3, 2, 3), 0)
    for clip, made in zip(x, tokens.x, strict=True):
        torch.testing.assert_close(made, theirs(in_blocks(clip)), atol=1e-5, rtol=0)


@torch.no_grad()
def test_another_order_of_the_cells_breaks_it(pair: tuple[Part, PatchMerger]) -> None:
    ours, theirs = pair
    x = torch.randn(1, 1, 4, 4, C)
    down_first = ours(Features(x.transpose(2, 3))).x.reshape(2, 2, D).transpose(0, 1).flatten(0, 1)
    assert (down_first - theirs(in_blocks(x[0]))).abs().max() > 0.1


@torch.no_grad()
def test_an_incomplete_block_repeats_its_cells(pair: tuple[Part, PatchMerger]) -> None:
    ours, _ = pair
    x = torch.randn(1, 1, 3, 3, C)
    full = x[:, :, [0, 1, 2, 2]][:, :, :, [0, 1, 2, 2]]
    assert ours.plan(Grid(1, 3, 3)) == (Grid(1, 2, 2), 0)
    assert torch.equal(ours(Features(x)).x, ours(Features(full)).x)


def test_tokens_without_a_place_are_refused(pair: tuple[Part, PatchMerger]) -> None:
    with pytest.raises(ValueError, match="1 tokens besides"):
        pair[0](Features(torch.randn(1, 1, 2, 2, C), torch.randn(1, 1, C)))
