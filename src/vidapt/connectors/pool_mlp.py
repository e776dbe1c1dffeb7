"""Pool the grid and map it to the language model's width by a small MLP, in either order.

Source: LLaVA-1.5 (arXiv 2310.03744; no pooling), LLaVA-NeXT-Video (average of 2 x 2 cells, before the MLP
in April 2024 and after it from August), LLaVA-OneVision (arXiv 2408.03326; bilinear, after), PLLaVA
(arXiv 2404.16994, eq. 2; adaptive average over time, height and width, after). The newline modes are
LLaVA-NeXT's `grid`, `frame` and `one_token`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig

Pool = Literal["none", "average", "bilinear", "adaptive3d"]


class Part(nn.Module):
    """Pooling and an MLP.

    Args:
        cfg: Pooling, order, MLP and newlines.
        width_in: C, the tower's width.
        width_out: D, the language model's width.

    Raises:
        ValueError: If there are several towers.
    """

    class Config(PartConfig):
        """Pooling, order, MLP and newlines.

        Attributes:
            pool: `average` and `bilinear` shrink each frame by `stride`; `adaptive3d` averages over the
                bins of `shape`; `none` keeps every cell.
            stride: Cells per side that become one. `average` drops an incomplete last row or column,
                `bilinear` rounds up.
            shape: (t, h, w) that `adaptive3d` gives, whatever comes in.
            order: Which of the two comes first. The order changes the numbers, because the MLP bends.
            depth: Linear layers, with exact GELU between them; 1 is a linear map.
            bias: Whether the linear layers have one.
            newline: Where a learned vector is added: after each row (`grid`), after each frame (`frame`),
                after the clip (`one`), or nowhere.
            extra_per_clip: How many tokens without a place the tower hands over for each clip, such as
                video proxies; they pass through the MLP and come last.
            extra_per_frame: The same for each frame, such as class tokens.
        """

        choices = frozenset({"pool", "stride", "shape", "order", "extra_per_clip", "extra_per_frame"})

        pool: Pool = "none"
        stride: int = Field(default=2, ge=1)
        shape: tuple[int, int, int] | None = None
        order: Literal["pool_first", "mlp_first"] = "pool_first"
        depth: int = Field(default=2, ge=1)
        bias: bool = True
        newline: Literal["none", "grid", "frame", "one"] = "none"
        extra_per_clip: int = Field(default=0, ge=0)
        extra_per_frame: int = Field(default=0, ge=0)

        @model_validator(mode="after")
        def _shape_fits(self) -> Part.Config:
            if (self.pool == "adaptive3d") != (self.shape is not None):
                raise ValueError("`shape` goes with `pool: adaptive3d`, and only with it")
            if self.shape is not None and min(self.shape) < 1:
                raise ValueError(f"`shape` needs positive sides, got {self.shape}")
            return self

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("pool_mlp", width_in)
        self.cfg = cfg
        layers: list[nn.Module] = [nn.Linear(width_in, width_out, bias=cfg.bias)]
        for _ in range(cfg.depth - 1):
            layers += [nn.GELU(), nn.Linear(width_out, width_out, bias=cfg.bias)]
        self.mlp = nn.Sequential(*layers)
        self.newline: nn.Parameter | None = None
        if cfg.newline != "none":
            self.newline = nn.Parameter(torch.randn(width_out) / math.sqrt(width_out))

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Say what `forward` will make of a grid.

        Returns:
            The grid of the tokens that have a place, and the number of those that have none. A newline
            counts as the last cell of its row; per frame, a frame is one row of h * w + 1 cells.
        """
        pooled, extra = self._pooled(grid), self._extras(grid)
        if self.cfg.newline == "grid":
            return Grid(pooled.t, pooled.h, pooled.w + 1), extra
        if self.cfg.newline == "frame":
            return Grid(pooled.t, 1, pooled.h * pooled.w + 1), extra
        return pooled, extra + int(self.cfg.newline == "one")

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
        pieces = self._with_newlines(cells)
        if seen.extra is not None:
            pieces.append(self.mlp(seen.extra))
        grid, extra = self.plan(seen.grid)
        return Tokens(torch.cat(pieces, dim=1), grid, extra)

    def _extras(self, grid: Grid) -> int:
        return self.cfg.extra_per_clip + self.cfg.extra_per_frame * grid.t

    def _pooled(self, grid: Grid) -> Grid:
        stride = self.cfg.stride
        if self.cfg.pool == "average":
            return Grid(grid.t, max(1, grid.h // stride), max(1, grid.w // stride))
        if self.cfg.pool == "bilinear":
            return Grid(grid.t, math.ceil(grid.h / stride), math.ceil(grid.w / stride))
        return Grid(*self.cfg.shape) if self.cfg.shape else grid

    def _pool(self, x: Tensor) -> Tensor:
        """[N, t, h, w, C] -> [N, t', h', w', C]."""
        if self.cfg.pool == "none":
            return x
        if self.cfg.shape is not None:
            pooled = F.adaptive_avg_pool3d(x.permute(0, 4, 1, 2, 3), self.cfg.shape)
            return pooled.permute(0, 2, 3, 4, 1)
        frames = x.flatten(0, 1).permute(0, 3, 1, 2)
        size = self._pooled(Grid(*x.shape[1:4]))
        if self.cfg.pool == "average":
            # A grid smaller than the stride is averaged whole instead of vanishing.
            kernel = (min(self.cfg.stride, x.shape[2]), min(self.cfg.stride, x.shape[3]))
            frames = F.avg_pool2d(frames, kernel)
        else:
            frames = F.interpolate(frames, size=(size.h, size.w), mode="bilinear", align_corners=False)
        return frames.permute(0, 2, 3, 1).reshape(*x.shape[:2], size.h, size.w, x.shape[-1])

    def _with_newlines(self, cells: Tensor) -> list[Tensor]:
        """[N, t, h, w, D] -> pieces [N, ?, D] in the order they are read."""
        if self.newline is None:
            return [cells.flatten(1, 3)]
        if self.cfg.newline == "one":
            return [cells.flatten(1, 3), self.newline.expand(len(cells), 1, -1)]
        if self.cfg.newline == "frame":
            cells = cells.flatten(2, 3).unsqueeze(2)
        mark = self.newline.expand(*cells.shape[:3], 1, -1)
        return [torch.cat([cells, mark], dim=3).flatten(1, 3)]


def tiny() -> Part:
    """The smallest sensible instance: 2 x 2 averages of width 16 to width 8."""
    return Part(Part.Config(pool="average"), width_in=16, width_out=8)
