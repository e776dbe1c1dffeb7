"""Neighbouring cells become the channels of one token, which a small MLP reads.

Source: the projector of InternVL (Chen et al. 2024, arXiv 2404.16821: a quarter of the cells, layer norm of
what was joined, two linear layers), that of SmolVLM (Marafioti et al. 2025, arXiv 2504.05299: one linear
layer without norm or bias), and the merger of MiniCPM-V 4.6 (layer norm of what was joined, a hidden layer of
its width). Their views and swaps of axes all come to one thing: cells of a block row by row, channels
innermost.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from vidapt.connectors._blocks import blocks_of, side_by_side
from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Cells side by side, a layer norm of what was joined, and an MLP.

    Args:
        cfg: How much is joined, and what reads it.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are several towers.
    """

    class Config(PartConfig):
        """How much is joined, and what reads it.

        Attributes:
            stride: Cells per side that become one token. An incomplete last row or column is completed by
                repeating it.
            norm: Whether what was joined is normalised first.
            eps: Of that norm.
            depth: Linear layers, with exact GELU between them; 1 is a linear map.
            hidden: Width between two linear layers: the language model's, or that of what was joined.
            bias: Whether the linear layers have one.
        """

        choices = frozenset({"eps"})

        stride: int = Field(default=2, ge=1)
        norm: bool = True
        eps: float = Field(default=1e-5, gt=0)
        depth: int = Field(default=2, ge=1)
        hidden: Literal["out", "joined"] = "out"
        bias: bool = True

    local = True  # each token stands for the part of the clip in which it lies

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        self.cfg = cfg
        joined = one_tower("pixel_shuffle", width_in) * cfg.stride**2
        self.norm = nn.LayerNorm(joined, eps=cfg.eps) if cfg.norm else nn.Identity()
        hidden = joined if cfg.hidden == "joined" else width_out
        widths = [joined, *[hidden] * (cfg.depth - 1), width_out]
        layers: list[nn.Module] = [nn.Linear(widths[0], widths[1], bias=cfg.bias)]
        for index in range(1, cfg.depth):
            layers += [nn.GELU(), nn.Linear(widths[index], widths[index + 1], bias=cfg.bias)]
        self.mlp = nn.Sequential(*layers)

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid: the grid of the tokens, and 0 tokens without a place."""
        return blocks_of(grid, self.cfg.stride), 0

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
            raise ValueError(f"pixel_shuffle reads one tower's features, got {len(features)} sets")
        (seen,) = features
        if seen.extra is not None:
            raise ValueError(
                f"pixel_shuffle joins cells; the tower gave {seen.extra.shape[1]} tokens besides"
            )
        joined = side_by_side(seen.x, self.cfg.stride)
        return Tokens(self.mlp(self.norm(joined)).flatten(1, 3), *self.plan(seen.grid))


def tiny() -> Part:
    """The smallest sensible instance: 2 x 2 cells of width 16 to width 8."""
    return Part(Part.Config(), width_in=16, width_out=8)
