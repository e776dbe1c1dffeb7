"""One view per frame, its cells pooled before or after the connector, with learned newlines between.

Source: how the AnyRes family reads what it does not tile. LLaVA-NeXT-Video (Zhang et al. 2024) averages
2 x 2 cells before the projector (April) or behind it (from August) and knows four places for the newline;
LLaVA-OneVision (arXiv 2408.03326) shrinks frames bilinearly behind it and ends a clip with one newline, as
it does each of several stills, which it pads to a square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.nouns import Features, Grid, Plan, Tokens
from vidapt.resolutions import pad, whole
from vidapt.resolutions._one_by_one import OneByOne
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import Filter


class Part(OneByOne, nn.Module):
    """Cut one view of the tower's native size from every frame; pool it and mark where rows or frames end.

    Args:
        cfg: Fit, pooling and newlines.
        size: (height, width) of the tower, in pixels.
        width: D, width of the language model.

    Attributes:
        newline: [D]; absent under `newline: none`.
    """

    class Config(PrunedConfig):
        """Fit, pooling and newlines.

        Attributes:
            fit: `squash` keeps everything and distorts it; `crop` keeps the shape and loses the ends; `pad`
                keeps both and adds a border.
            colour: Red, green and blue of the border, 0 to 255.
            filter: Resampling filter.
            pool: How `stride` x `stride` cells become one. `average` and `max` drop an incomplete last row
                or column, `bilinear` rounds up.
            stride: Cells per side that become one.
            order: Whether cells are pooled before or behind the connector. The order changes the numbers,
                because the connector bends.
            newline: Where a learned vector is added: after each row (`grid`), after each frame (`frame`),
                after the clip (`one`), or nowhere.
        """

        fit: Literal["squash", "crop", "pad"] = "squash"
        colour: tuple[int, int, int] = (122, 116, 104)
        filter: Filter = "bicubic"
        pool: Literal["none", "average", "max", "bilinear"] = "none"
        stride: int = Field(default=2, ge=1)
        order: Literal["pool_first", "connector_first"] = "connector_first"
        newline: Literal["none", "grid", "frame", "one"] = "none"

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.cfg, self.size = cfg, size
        self._frames: whole.Part | pad.Part
        if cfg.fit == "pad":
            self._frames = pad.Part(pad.Part.Config(colour=cfg.colour, filter=cfg.filter), size=size)
        else:
            self._frames = whole.Part(whole.Part.Config(fit=cfg.fit, filter=cfg.filter), size=size)
        if cfg.newline != "none":
            self.newline = nn.Parameter(torch.randn(width) / math.sqrt(width))

    @property
    def pools_first(self) -> bool:
        """Whether `stitch` pools: what it gives is then smaller than what was seen, one for each view."""
        return self.cfg.pool != "none" and self.cfg.order == "pool_first"

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """Plan a clip: one view.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive.
        """
        return self._frames.plan(size, frames)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned view.

        Args:
            pixels: [T, H, W, 3] uint8.
            plan: What `plan` gave for this clip.

        Returns:
            One [T, 3, h, w] uint8 tensor.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        return self._frames.cut(pixels, plan)

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """Pool what the tower saw, if that comes before the connector.

        Args:
            features: One, with x [N, t, h, w, C].
            plan: What `plan` gave for these clips.
        """
        if self.cfg.order == "pool_first":
            features = [Features(self._pool(seen.x), seen.extra) for seen in features]
        return super().stitch(features, plan)

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """Pool the tokens, if that comes behind the connector, and put the newlines in.

        Args:
            tokens: One, with x [N, n, D].
            plan: What `plan` gave for these clips.

        Returns:
            One; a newline counts as the last cell of its row (per frame, a frame is one row of h * w + 1
            cells), and the one of a whole clip as its first token without a place.
        """
        del plan
        return [self._read(piece) for piece in tokens]

    def _read(self, tokens: Tokens) -> Tokens:
        cells, rest = _cells(tokens), tokens.x[:, tokens.grid.cells :]
        if self.cfg.order == "connector_first":
            cells = self._pool(cells)
        if self.cfg.newline != "none":
            mark = self.newline.to(cells.dtype)
        if self.cfg.newline == "one":
            rest = torch.cat([mark.expand(len(cells), 1, -1), rest], dim=1)
        elif self.cfg.newline != "none":
            if self.cfg.newline == "frame":
                cells = cells.flatten(2, 3).unsqueeze(2)
            cells = torch.cat([cells, mark.expand(*cells.shape[:3], 1, -1)], dim=3)
        read = torch.cat([cells.flatten(1, 3), rest], dim=1)
        return Tokens(read, Grid(*cells.shape[1:4]), rest.shape[1])

    def _pool(self, x: Tensor) -> Tensor:
        """[N, t, h, w, C] -> [N, t, h', w', C]."""
        if self.cfg.pool == "none":
            return x
        frames = x.flatten(0, 1).permute(0, 3, 1, 2)
        if self.cfg.pool == "bilinear":
            size = [math.ceil(side / self.cfg.stride) for side in x.shape[2:4]]
            frames = F.interpolate(frames, size=size, mode="bilinear")
        else:
            # A grid smaller than the stride is pooled whole instead of vanishing.
            kernel = (min(self.cfg.stride, x.shape[2]), min(self.cfg.stride, x.shape[3]))
            pool = F.avg_pool2d if self.cfg.pool == "average" else F.max_pool2d
            frames = pool(frames, kernel)
        frames = frames.permute(0, 2, 3, 1)
        return frames.reshape(*x.shape[:2], *frames.shape[1:])


def _cells(tokens: Tokens) -> Tensor:
    """[N, t, h, w, D]: those that have a place."""
    grid = tokens.grid
    return tokens.x[:, : grid.cells].reshape(len(tokens.x), grid.t, grid.h, grid.w, -1)


def tiny() -> Part:
    """The smallest sensible instance: 2 x 2 averages of views of 8 x 8 pixels, one newline, width 4."""
    return Part(Part.Config(pool="average", newline="one"), size=(8, 8), width=4)
