"""A coarse and a fine view of every frame, and optionally the coarse one again in tiles.

Source: Mini-Gemini (Li et al. 2024, arXiv 2403.18814) and its published code: the fine view is prepared
first, and the coarse one is a plain (not antialiased) bilinear shrink of it that is never rounded to whole
levels. The HD models shrink to `grid` x `grid` tiles of the coarse tower's size instead, and shrink those
once more into an overview; the fine map is cut likewise, and shrunk bilinearly for the overview.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from vidapt.nouns import Features, Grid, Plan, Span, Tokens, View
from vidapt.parts import PartConfig
from vidapt.resolutions import pad, whole
from vidapt.resolutions._resize import Filter, check_frames, check_plan

COARSE, FINE = 0, 1
"""Towers that look at the coarse views and at the fine one."""


class Part:
    """Cut coarse views for the first tower and one fine view for the second.

    Args:
        cfg: Sizes and tiles.
        size: (height, width) of the first tower, in pixels.
        width: Of the language model; nothing is learned here.
    """

    class Config(PartConfig):
        """Sizes and tiles.

        Attributes:
            fine: Side of the fine view, in pixels.
            fit: How a frame becomes that square: `pad` fills up the short side with `colour`, `crop`
                loses the ends, `squash` distorts.
            colour: Red, green and blue of the padding, 0 to 255. The default is CLIP's mean.
            filter: Resampling filter for that.
            grid: Coarse tiles per side; 1 is one coarse view of everything.
            overview: Whether a coarse view of everything comes before the tiles.
        """

        fine: int = Field(default=768, ge=1)
        fit: Literal["pad", "crop", "squash"] = "pad"
        colour: tuple[int, int, int] = (122, 116, 104)
        filter: Filter = "bicubic"
        grid: int = Field(default=1, ge=1)
        overview: bool = False

        @model_validator(mode="after")
        def _overview_of_tiles(self) -> Part.Config:
            if self.overview and self.grid == 1:
                raise ValueError("`overview` goes with a `grid` of at least 2: one view is its own overview")
            return self

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size
        self._fine: pad.Part | whole.Part
        side = (cfg.fine, cfg.fine)
        if cfg.fit == "pad":
            self._fine = pad.Part(pad.Part.Config(colour=cfg.colour, filter=cfg.filter), size=side)
        else:
            self._fine = whole.Part(whole.Part.Config(fit=cfg.fit, filter=cfg.filter), size=side)

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """Plan a clip: the overview if there is one, the tiles row by row, the fine view.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive.
        """
        check_plan(size, frames)
        coarse = View(self.size, COARSE)
        fine = View((self.cfg.fine, self.cfg.fine), FINE)
        return Plan(frames, (coarse,) * self._calls + (fine,), size)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned views.

        Args:
            pixels: [T, H, W, 3] uint8.
            plan: What `plan` gave for this clip.

        Returns:
            [T, 3, h, w] float32 in 0..255 for each coarse view, then [T, 3, fine, fine] uint8.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        check_frames(pixels, plan)
        (fine,) = self._fine.cut(pixels, self._fine.plan(plan.size, plan.frames))
        height, width = self.size
        grid = self.cfg.grid
        # Frame by frame: a long clip of fine views in floats would be four times as large.
        shrunk = torch.cat([_shrink(frame[None].float(), (height * grid, width * grid)) for frame in fine])
        overview = [_shrink(shrunk, self.size)] if self.cfg.overview else []
        tiles = _tiles(shrunk, self.size, -2)
        return [view.clamp(0, 255).contiguous() for view in overview + tiles] + [fine]

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """Pair each coarse view with its part of the fine map.

        Args:
            features: One per view of the plan.
            plan: What `plan` gave for these clips.

        Returns:
            Per coarse view (its features, those of the fine map that cover the same part of the frame).

        Raises:
            ValueError: If the fine map cannot be cut into the tiles.
        """
        *coarse, fine = features
        part = self._part(fine.grid)
        parts = _tiles(fine.x, (part.h, part.w), 2)
        if self.cfg.overview:
            parts.insert(0, _shrink_cells(fine.x, part))
        return [(seen, Features(below)) for seen, below in zip(coarse, parts, strict=True)]

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """Put the views of a frame below each other, so that frames stay one after the other.

        Args:
            tokens: One per coarse view.
            plan: What `plan` gave for these clips.
        """
        whole_frame = self._frame([(piece.grid, piece.extra) for piece in tokens])
        cells = [piece.x.reshape(len(piece.x), piece.grid.t, -1, piece.x.shape[-1]) for piece in tokens]
        return [Tokens(torch.cat(cells, dim=2).flatten(1, 2), whole_frame)]

    @property
    def _calls(self) -> int:
        return self.cfg.grid**2 + int(self.cfg.overview)

    def _part(self, fine: Grid) -> Grid:
        """The part of the fine grid that one tile covers, which is also the size it shrinks to."""
        grid = self.cfg.grid
        if fine.h % grid or fine.w % grid:
            raise ValueError(f"a fine map of {fine.h}x{fine.w} cells cannot be cut into {grid}x{grid} tiles")
        return replace(fine, h=fine.h // grid, w=fine.w // grid)

    def _frame(self, spans: Sequence[Span]) -> Grid:
        (first, _), *_ = spans
        if any(extra or grid != first for grid, extra in spans):
            raise ValueError(f"two_scale arranges equal views without extra tokens, got {list(spans)}")
        return replace(first, h=first.h * len(spans))


_AT_ONCE = 16
"""Frames shrunk together."""


def _tiles(x: Tensor, size: tuple[int, int], axis: int) -> list[Tensor]:
    """Cut the axes `axis` and `axis` + 1 into tiles of (h, w), row by row."""
    rows = torch.split(x, size[0], dim=axis)
    return [tile for row in rows for tile in torch.split(row, size[1], dim=axis + 1)]


def _shrink(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """[T, 3, H, W] float -> [T, 3, h, w] float, without antialiasing."""
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False)


def _shrink_cells(x: Tensor, grid: Grid) -> Tensor:
    """[N, t, h, w, C] at the size of `grid`; in no fewer than 32 bits, as the original does."""
    exact = torch.promote_types(x.dtype, torch.float32)
    # A few frames at a time: a long clip in more bits would be large.
    frames = [
        _shrink(some.permute(0, 3, 1, 2).to(exact), (grid.h, grid.w)).permute(0, 2, 3, 1).to(x.dtype)
        for some in torch.split(x.flatten(0, 1), _AT_ONCE)
    ]
    return torch.cat(frames).reshape(*x.shape[:2], grid.h, grid.w, x.shape[-1])


def tiny() -> Part:
    """The smallest sensible instance: four tiles of 8 x 8 pixels, an overview, and 16 x 16 fine pixels."""
    return Part(Part.Config(fine=16, grid=2, overview=True), size=(8, 8))
