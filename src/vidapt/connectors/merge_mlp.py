"""Join neighbouring cells into one token by a small MLP.

Source: the merger of Qwen2-VL (Wang et al. 2024, arXiv 2409.12191): layer norm of each cell, 2 x 2 cells
side by side as one vector, linear, GELU, linear.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Layer norm, merging and an MLP.

    Args:
        cfg: How much is merged.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are several towers.
    """

    class Config(PartConfig):
        """How much is merged.

        Attributes:
            stride: Cells per side that become one token. An incomplete last row or column is completed by
                repeating it.
        """

        stride: int = Field(default=2, ge=1)

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("merge_mlp", width_in)
        self.cfg = cfg
        merged = width_in * cfg.stride**2
        self.norm = nn.LayerNorm(width_in, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, width_out))

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid: the grid of the tokens, and 0 tokens without a place."""
        stride = self.cfg.stride
        return Grid(grid.t, -(-grid.h // stride), -(-grid.w // stride)), 0

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: One set of features with x [N, t, h, w, C].

        Returns:
            Tokens with x [N, n, D], as `plan` promised.

        Raises:
            ValueError: If there is not exactly one set, or it has tokens without a place.
        """
        if len(features) != 1:
            raise ValueError(f"merge_mlp reads one tower's features, got {len(features)} sets")
        (seen,) = features
        if seen.extra is not None:
            raise ValueError(f"merge_mlp merges cells; the tower gave {seen.extra.shape[1]} tokens besides")
        grid, extra = self.plan(seen.grid)
        x = self.mlp(self._merged(self.norm(seen.x), grid))
        return Tokens(x.flatten(1, 3), grid, extra)

    def _merged(self, x: Tensor, grid: Grid) -> Tensor:
        """[N, t, h, w, C] -> [N, t, h / s, w / s, s * s * C], the cells of a block row by row."""
        s = self.cfg.stride
        x = _completed(_completed(x, 2, grid.h * s), 3, grid.w * s)
        blocks = x.reshape(*x.shape[:2], grid.h, s, grid.w, s, x.shape[-1])
        return blocks.transpose(3, 4).flatten(4)


def _completed(x: Tensor, dim: int, length: int) -> Tensor:
    """`x` with its last entry along `dim` repeated up to `length`."""
    if x.shape[dim] == length:
        return x
    at = torch.arange(length, device=x.device).clamp_max(x.shape[dim] - 1)
    return x.index_select(dim, at)


def tiny() -> Part:
    """The smallest sensible instance: 2 x 2 cells of width 16 to width 8."""
    return Part(Part.Config(), width_in=16, width_out=8)
