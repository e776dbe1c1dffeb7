"""Join neighbouring cells into one token by a small MLP, and so for each level of the tower.

Source: the merger of Qwen2-VL (Wang et al. 2024, arXiv 2409.12191): layer norm of each cell, 2 x 2 cells
side by side as one vector, linear, GELU, linear; with a root-mean-square norm in Qwen2.5-VL (Bai et al.
2025, arXiv 2502.13923). Mergers of inner layers, whose tokens are added deeper down: DeepStack (Meng et al.
2024, arXiv 2406.04334) as Qwen3-VL has it (Bai et al. 2025, arXiv 2511.21631), with the norm behind merging.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from vidapt.connectors._blocks import blocks_of, side_by_side
from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig

_EPS = 1e-6


class Part(nn.Module):
    """Norm, merging and an MLP.

    Args:
        cfg: How much is merged, which norm, and what is added deeper down.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are several towers.

    Attributes:
        depths: The language layers behind which `Tokens.deep` are added.
    """

    class Config(PartConfig):
        """How much is merged, which norm, and what is added deeper down.

        Attributes:
            stride: Cells per side that become one token. An incomplete last row or column is completed by
                repeating it.
            norm: `layer` takes mean and variance of each cell, `rms` its root mean square alone.
            depths: Language layers, counted from 0, behind which the tokens of the tower's levels are added,
                one for each level in their order. Each level has a merger of its own, whose norm is a layer
                norm of whole blocks.
        """

        stride: int = Field(default=2, ge=1)
        norm: Literal["layer", "rms"] = "layer"
        depths: tuple[Annotated[int, Field(ge=0)], ...] = ()

    local = True  # each token stands for the part of the clip in which it lies

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("merge_mlp", width_in)
        self.cfg = cfg
        self.depths = cfg.depths
        merged = width_in * cfg.stride**2
        norm = nn.LayerNorm if cfg.norm == "layer" else nn.RMSNorm
        self.norm = norm(width_in, eps=_EPS)
        self.mlp = _mlp(merged, width_out)
        self.deep = nn.ModuleList(_BlockMerger(merged, width_out) for _ in cfg.depths)

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid: the grid of the tokens, and 0 tokens without a place."""
        return blocks_of(grid, self.cfg.stride), 0

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: One set of features with x, and a level for each of `depths`, [N, t, h, w, C].

        Returns:
            Tokens with x, and `deep` for each of `depths`, [N, n, D], as `plan` promised.

        Raises:
            ValueError: If there is not exactly one set, it has tokens without a place, or not as many levels
                as there are depths.
        """
        if len(features) != 1:
            raise ValueError(f"merge_mlp reads one tower's features, got {len(features)} sets")
        (seen,) = features
        if seen.extra is not None:
            raise ValueError(f"merge_mlp merges cells; the tower gave {seen.extra.shape[1]} tokens besides")
        if len(seen.levels) != len(self.depths):
            raise ValueError(
                f"merge_mlp adds tokens behind the language layers {list(self.depths)}, one level for each; "
                f"the tower gave {len(seen.levels)} levels"
            )
        grid, extra = self.plan(seen.grid)
        stride = self.cfg.stride
        x = self.mlp(side_by_side(self.norm(seen.x), stride))
        deep = (
            merger(side_by_side(level, stride)) for merger, level in zip(self.deep, seen.levels, strict=True)
        )
        return Tokens(x.flatten(1, 3), grid, extra, tuple(one.flatten(1, 3) for one in deep))


class _BlockMerger(nn.Module):
    """What merges a level: the norm is of whole blocks, [..., s * s * C] -> [..., D]."""

    def __init__(self, merged: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(merged, eps=_EPS)
        self.mlp = _mlp(merged, width)

    def forward(self, blocks: Tensor) -> Tensor:
        made: Tensor = self.mlp(self.norm(blocks))
        return made


def _mlp(merged: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, width))


def tiny() -> Part:
    """The smallest sensible instance: 2 x 2 cells of width 16 to width 8."""
    return Part(Part.Config(), width_in=16, width_out=8)
