"""A small MLP to the language model's width, before or behind an average over time, height and width.

Source: LLaVA-1.5 (arXiv 2310.03744; no pooling); PLLaVA (arXiv 2404.16994, eq. 2; adaptive average over time,
height and width, behind the MLP). Pooling of each frame by itself, and newlines, are the resolution `framed`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Pooling and an MLP.

    Args:
        cfg: Pooling, order and MLP.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are several towers.
    """

    class Config(PartConfig):
        """Pooling, order and MLP.

        Attributes:
            pool: `adaptive3d` averages over the bins of `shape`; `none` keeps every cell.
            shape: (t, h, w) that `adaptive3d` gives, whatever comes in.
            order: Which of the two comes first. The order changes the numbers, because the MLP bends.
            depth: Linear layers, with exact GELU between them; 1 is a linear map.
            bias: Whether the linear layers have one.
            extra_per_clip: How many tokens without a place the tower hands over for each clip, such as
                video proxies; they pass through the MLP and come last.
            extra_per_frame: The same for each frame, such as class tokens.
        """

        choices = frozenset({"pool", "shape", "order", "extra_per_clip", "extra_per_frame"})

        pool: Literal["none", "adaptive3d"] = "none"
        shape: tuple[int, int, int] | None = None
        order: Literal["pool_first", "mlp_first"] = "pool_first"
        depth: int = Field(default=2, ge=1)
        bias: bool = True
        extra_per_clip: int = Field(default=0, ge=0)
        extra_per_frame: int = Field(default=0, ge=0)

        @model_validator(mode="after")
        def _shape_fits(self) -> Part.Config:
            if (self.pool == "adaptive3d") != (self.shape is not None):
                raise ValueError("`shape` goes with `pool: adaptive3d`, and only with it")
            if self.shape is not None and min(self.shape) < 1:
                raise ValueError(f"`shape` needs positive sides, got {self.shape}")
            return self

    local = True  # each token stands for the part of the clip in which it lies

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("pool_mlp", width_in)
        self.cfg = cfg
        layers: list[nn.Module] = [nn.Linear(width_in, width_out, bias=cfg.bias)]
        for _ in range(cfg.depth - 1):
            layers += [nn.GELU(), nn.Linear(width_out, width_out, bias=cfg.bias)]
        self.mlp = nn.Sequential(*layers)

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid.

        Returns:
            The grid of the tokens that have a place, and the number of those that have none.
        """
        return Grid(*self.cfg.shape) if self.cfg.shape else grid, self._extras(grid)

    def forward(self, *features: Features) -> Tokens:
        """Make tokens.

        Args:
            features: One set of features with x [N, t, h, w, C].

        Returns:
            Tokens with x [N, n, D], as `plan` promised.

        Raises:
            ValueError: If there is not exactly one set, or its `extra` is not as many as configured.
        """
        if len(features) != 1:
            raise ValueError(f"pool_mlp reads one tower's features, got {len(features)} sets")
        (seen,) = features
        found, expected = 0 if seen.extra is None else seen.extra.shape[1], self._extras(seen.grid)
        if found != expected:
            raise ValueError(f"pool_mlp is set to {expected} extra tokens here, the tower gave {found}")
        mlp_first = self.cfg.order == "mlp_first"
        cells = self._pool(self.mlp(seen.x)) if mlp_first else self.mlp(self._pool(seen.x))
        pieces = [cells.flatten(1, 3)]
        if seen.extra is not None:
            pieces.append(self.mlp(seen.extra))
        return Tokens(torch.cat(pieces, dim=1), *self.plan(seen.grid))

    def _extras(self, grid: Grid) -> int:
        return self.cfg.extra_per_clip + self.cfg.extra_per_frame * grid.t

    def _pool(self, x: Tensor) -> Tensor:
        """[N, t, h, w, C] -> [N, t', h', w', C]."""
        if self.cfg.shape is None:
            return x
        pooled = F.adaptive_avg_pool3d(x.permute(0, 4, 1, 2, 3), self.cfg.shape)
        return pooled.permute(0, 2, 3, 4, 1)


def tiny() -> Part:
    """The smallest sensible instance: one cell of width 16 to width 8."""
    return Part(Part.Config(pool="adaptive3d", shape=(1, 1, 1)), width_in=16, width_out=8)
