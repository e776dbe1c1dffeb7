"""Neighbouring cells side by side as one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from vidapt.nouns import Grid


def blocks_of(grid: Grid, stride: int) -> Grid:
    """The grid of blocks of `stride` x `stride` cells; an incomplete last row or column counts as one."""
    return Grid(grid.t, -(-grid.h // stride), -(-grid.w // stride))


def side_by_side(x: Tensor, stride: int) -> Tensor:
    """Join the cells of each block, row by row within the block.

    Args:
        x: [N, t, h, w, C].
        stride: Cells per side of a block. An incomplete last row or column is completed by repeating it.

    Returns:
        [N, t, h / stride, w / stride, stride * stride * C], the sides rounded up.
    """
    grid = blocks_of(Grid(*x.shape[1:4]), stride)
    x = _completed(_completed(x, 2, grid.h * stride), 3, grid.w * stride)
    blocks = x.reshape(*x.shape[:2], grid.h, stride, grid.w, stride, x.shape[-1])
    return blocks.transpose(3, 4).flatten(4)


def _completed(x: Tensor, dim: int, length: int) -> Tensor:
    """`x` with its last entry along `dim` repeated up to `length`."""
    if x.shape[dim] == length:
        return x
    at = torch.arange(length, device=x.device).clamp_max(x.shape[dim] - 1)
    return x.index_select(dim, at)
