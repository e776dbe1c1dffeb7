"""A small view of the whole picture, and tiles of it that are joined again after the connector.

Source: LLaVA-NeXT's AnyRes (Liu et al. 2024, "LLaVA-NeXT: Improved reasoning, OCR, and world knowledge") and
its merging `spatial_unpad`; shrinking of the projected map follows LLaVA-NeXT's ablations (Li et al. 2024,
"What else influences visual instruction tuning beyond data?") and LLaVA-OneVision (arXiv 2408.03326,
`anyres_max_9`). `fit: crop` is the ablations' improved AnyRes, which cuts the picture as it is and leaves
all resizing to the map of tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vidapt.nouns import Grid, Plan, Span, Tokens, View
from vidapt.parts import PartConfig
from vidapt.resolutions._anyres_grid import (
    Rounding,
    Size,
    choose_grid,
    fitted,
    padding_of_cropped,
    padding_of_fitted,
    shrunk,
)
from vidapt.resolutions._one_by_one import OneByOne
from vidapt.resolutions._resize import check_frames, check_plan, pillow

_RANGE = re.compile(r"(\d+)x(\d+)\.\.(\d+)x(\d+)")

MOST_TILES = 144
"""Of one picture. Four times what any published model uses; a configuration must not ask for gigabytes."""


class Part(OneByOne, nn.Module):
    """Cut the whole picture, squashed, and its tiles in rows; read the former, then the joined latter.

    A clip of several frames is read frame by frame, each as a picture of its own.

    Args:
        cfg: Grids, fit, limit and newline.
        size: (height, width) of the tower and so of a tile, in pixels.
        width: D, width of the language model.

    Attributes:
        newline: [D] what is read at the end of each row of the map; absent under `newline: none`.
    """

    class Config(PartConfig):
        """Grids, fit, limit and newline.

        Attributes:
            grids: (rows, columns) of tiles a picture may be cut into, or a range such as "1x1..6x6". The
                order matters: of equally good ones the first is taken.
            fit: `resize` makes the picture fit the grid; `crop` places it there as it is, in the middle, and
                loses what lies beyond.
            colour: Red, green and blue of the grid around the picture, 0 to 255.
            filter: Resampling filter, as Pillow computes it.
            most_tiles: Shrink the map to as many tokens as this many tiles have, once it is more than 1.21
                times as large; None keeps it.
            rounding: How the rows and columns that hold the picture are counted: as in the authors' code or
                as in transformers. They differ in one picture out of fifty thousand.
            newline: Whether a learned vector ends each row of the map.
        """

        grids: tuple[Size, ...] = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
        fit: Literal["resize", "crop"] = "resize"
        colour: tuple[int, int, int] = (0, 0, 0)
        filter: Literal["bicubic", "bilinear"] = "bicubic"
        most_tiles: int | None = Field(default=None, ge=1)
        rounding: Rounding = "hf"
        newline: Literal["row", "none"] = "row"

        @field_validator("grids", mode="before")
        @classmethod
        def _range(cls, grids: Any) -> Any:
            if not isinstance(grids, str):
                return grids
            ends = _RANGE.fullmatch(grids)
            if ends is None:
                raise ValueError(f"{grids!r} is not a range of grids; write it as 1x1..6x6")
            rows, columns, last_row, last_column = map(int, ends.groups())
            if last_row * last_column > MOST_TILES:
                raise ValueError(f"{grids!r} has grids of more than {MOST_TILES} tiles")
            return [(r, c) for r in range(rows, last_row + 1) for c in range(columns, last_column + 1)]

        @field_validator("grids")
        @classmethod
        def _positive(cls, grids: tuple[Size, ...]) -> tuple[Size, ...]:
            if not grids or any(min(grid) < 1 or grid[0] * grid[1] > MOST_TILES for grid in grids):
                raise ValueError(f"`grids` needs at least one, each of 1 to {MOST_TILES} tiles, got {grids}")
            return grids

    def __init__(self, cfg: Config, *, size: Size, width: int) -> None:
        super().__init__()
        self.cfg, self.size = cfg, size
        if cfg.newline == "row":
            self.newline = nn.Parameter(torch.randn(width) / math.sqrt(width))

    def plan(self, size: Size, frames: int) -> Plan:
        """Plan a clip: its first view is the whole picture, the others are tiles row by row.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive.
        """
        check_plan(size, frames)
        rows, columns = self._grid(size)
        return Plan(frames, (View(self.size),) * (1 + rows * columns), size)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned views.

        Args:
            pixels: [T, H, W, 3] uint8.
            plan: What `plan` gave for this clip.

        Returns:
            [T, 3, h, w] uint8 tensors: the whole picture, and its tiles row by row.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        check_frames(pixels, plan)
        if tuple(pixels.shape[1:3]) != plan.size:
            raise ValueError(f"the plan is for frames of {plan.size}, got {tuple(pixels.shape[1:3])}")
        frames = pixels.permute(0, 3, 1, 2)
        grid = self._grid(plan.size)
        canvas = self._canvas(grid)
        if self.cfg.fit == "resize":
            placed = self._place(pillow(frames, fitted(plan.size, canvas), self.cfg.filter), canvas)
        else:
            placed = self._place(frames, canvas)
        tiles = placed.reshape(len(placed), 3, grid[0], self.size[0], grid[1], self.size[1])
        views = [tiles[:, :, row, :, column] for row in range(grid[0]) for column in range(grid[1])]
        return [pillow(frames, self.size, self.cfg.filter), *views]

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """Join the tiles of each frame to one map and put the whole picture before it.

        Args:
            tokens: [N, t * h * w, D] each: the whole picture, and its tiles row by row.
            plan: What `plan` gave for these clips.

        Returns:
            Per frame, the whole picture [N, h * w, D] and the map [N, h' * (w' + 1), D], of which the last
            column is the newline.

        Raises:
            ValueError: If the connector gave tokens without a place, or tiles of different shape.
        """
        grid, cells = self._tiles([(piece.grid, piece.extra) for piece in tokens], plan)
        read: list[Tokens | str] = []
        views = [piece.x.reshape(len(piece.x), cells.t, cells.h, cells.w, -1) for piece in tokens]
        for frame in range(cells.t):
            whole, *tiles = (view[:, frame] for view in views)
            rows = [torch.cat(tiles[i * grid[1] : (i + 1) * grid[1]], dim=2) for i in range(grid[0])]
            read.append(Tokens(whole.flatten(1, 2), Grid(1, cells.h, cells.w)))
            joined = self._kept(torch.cat(rows, dim=1), plan, cells)
            read.append(Tokens(joined.flatten(1, 2), Grid(1, *joined.shape[1:3])))
        return read

    def _grid(self, size: Size) -> Size:
        """(rows, columns) of tiles."""
        return choose_grid(size, self.cfg.grids, self.size, resized=self.cfg.fit == "resize")

    def _canvas(self, grid: Size) -> Size:
        return grid[0] * self.size[0], grid[1] * self.size[1]

    def _place(self, frames: Tensor, canvas: Size) -> Tensor:
        """[T, 3, H, W] in the middle of a canvas; what does not fit is cut off, evenly at both ends."""
        (height, width), (tall, wide) = frames.shape[-2:], canvas
        from_top, from_left = max(0, height - tall) // 2, max(0, width - wide) // 2
        frames = frames[..., from_top : from_top + tall, from_left : from_left + wide]
        top, left = (tall - frames.shape[-2]) // 2, (wide - frames.shape[-1]) // 2
        placed = torch.tensor(self.cfg.colour, dtype=torch.uint8).view(1, 3, 1, 1)
        placed = placed.repeat(len(frames), 1, tall, wide)
        placed[..., top : top + frames.shape[-2], left : left + frames.shape[-1]] = frames
        return placed

    def _tiles(self, spans: Sequence[Span], plan: Plan) -> tuple[Size, Grid]:
        """(rows, columns) of tiles and the cells of one, after checking what the connector made."""
        grid = self._grid(plan.size)
        cells = spans[0][0]
        if len(spans) != 1 + grid[0] * grid[1] or any(span != (cells, 0) for span in spans):
            raise ValueError(
                f"anyres joins {grid[0]} x {grid[1]} tiles and a whole picture of equally many cells and no "
                f"token without a place, got {sorted({str(span) for span in spans})}"
            )
        return grid, cells

    def _padding(self, cells: Size, size: Size) -> Size:
        if self.cfg.fit == "crop":
            return padding_of_cropped(cells, size, self._canvas(self._grid(size)))
        return padding_of_fitted(cells, size, self.cfg.rounding)

    def _shrunk(self, kept: Size, cells: Grid) -> Size:
        return kept if self.cfg.most_tiles is None else shrunk(kept, self.cfg.most_tiles * cells.h * cells.w)

    def _kept(self, joined: Tensor, plan: Plan, cells: Grid) -> Tensor:
        """[N, rows, columns, D] without padding, shrunk, each row ended by the newline."""
        rows, columns = joined.shape[1:3]
        above, left = self._padding((rows, columns), plan.size)
        kept = joined[:, above : rows - above, left : columns - left]
        size = self._shrunk((kept.shape[1], kept.shape[2]), cells)
        if size != tuple(kept.shape[1:3]):
            kept = F.interpolate(kept.permute(0, 3, 1, 2), size=size, mode="bilinear").permute(0, 2, 3, 1)
        if self.cfg.newline == "none":
            return kept
        return torch.cat([kept, self.newline.to(kept.dtype).expand(*kept.shape[:2], 1, -1)], dim=2)


def tiny() -> Part:
    """The smallest sensible instance: tiles of 8 x 8 pixels, width 4."""
    return Part(Part.Config(most_tiles=2), size=(8, 8), width=4)
