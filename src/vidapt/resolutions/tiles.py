"""Tiles of a picture row by row, each read by itself, and the whole picture behind them.

Source: InternVL 1.5 (Chen et al. 2024, arXiv 2404.16821: the grid of the nearest ratio, a thumbnail where
there is more than one tile) and SmolVLM (Marafioti et al. 2025, arXiv 2504.05299, after Idefics3: the long
side brought to a length, as many tiles as that takes, a mark in front of each).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vidapt.nouns import Grid, Plan, Tokens, View
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import pillow, resize
from vidapt.resolutions._tile_grid import Size, grids, nearest_shape, whole_tiles, with_long_side

MOST_TILES = 144
"""Of one picture. Several times what any published model uses; a configuration must not ask for gigabytes."""

_LONGEST = 4096


class Part(Checked):
    """Cut tiles of the tower's native size, and the whole picture at that size.

    A picture of one tile is the whole picture, and read once. A clip of several frames is read frame by
    frame, each as a picture of its own.

    Args:
        cfg: How many tiles, the filter, and what is written around them.
        size: (height, width) of the tower and so of a tile, in pixels.
        width: Of the language model; nothing is learned here.
    """

    class Config(PrunedConfig):
        """How many tiles, the filter, and what is written around them.

        Attributes:
            most: At most this many tiles; 1 never divides.
            least: At least this many, where `longest` is not given.
            longest: None takes the grid whose ratio of sides is nearest to the picture's. Pixels bring the
                long side to this length first, and then both to whole tiles; each step resizes what the step
                before it gave, as published.
            filter: Resampling filter.
            kernel: Whose: Pillow's, or torch's, which has no `lanczos`.
            whole: What is written in front of the whole picture and behind it.
            tile: What is written in front of a tile; `{row}` and `{column}` are counted from 1.
            row_end: What is written behind each row of tiles.
            tiles_end: What is written behind the last row.
        """

        most: int = Field(default=12, ge=1, le=MOST_TILES)
        least: int = Field(default=1, ge=1, le=MOST_TILES)
        longest: int | None = Field(default=None, ge=1, le=_LONGEST)
        filter: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
        kernel: Literal["pillow", "torch"] = "pillow"
        whole: tuple[str, str] = ("", "")
        tile: str = ""
        row_end: str = ""
        tiles_end: str = ""

        @model_validator(mode="after")
        def _possible(self) -> Part.Config:
            if self.least > self.most:
                raise ValueError(f"`least` is {self.least}, more than `most`, which is {self.most}")
            if self.filter == "lanczos" and self.kernel == "torch":
                raise ValueError("`kernel: torch` has no `lanczos`; take `bicubic`, or `kernel: pillow`")
            return self

    def __init__(self, cfg: Config, *, size: Size, width: int = 0) -> None:
        self.cfg, self.size = cfg, size
        if cfg.longest is not None and cfg.most > 1:
            most = self._divided((cfg.longest, cfg.longest), max(size))
            if size[0] != size[1] or most[0] * most[1] > cfg.most:
                raise ValueError(
                    f"a long side of {cfg.longest} pixels makes {most[0]} x {most[1]} tiles of {size}, "
                    f"`most` is {cfg.most}; tiles have to be squares"
                )

    def grid(self, size: Size) -> Size:
        """(rows, columns) of tiles that a picture of (height, width) pixels is cut into."""
        if self.cfg.most == 1:
            return 1, 1
        if self.cfg.longest is not None:
            return self._divided(size, self.size[0])
        return nearest_shape(size, grids(self.cfg.least, self.cfg.most), self.size)

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """Put the views of each frame together: tiles row by row, the whole picture last, marks around them.

        Args:
            tokens: One per view.
            plan: What `plan` gave for these clips.

        Returns:
            The view as it is, where there is only one and nothing is written around it.

        Raises:
            ValueError: If a view's tokens do not all have a moment.
        """
        if len(tokens) == 1 and not any(self.cfg.whole):
            return list(tokens)
        columns = self.grid(plan.size)[1]
        written: list[Tokens | str] = []
        text = ""
        for *tiles, whole in zip(*map(_frames, tokens), strict=True):
            for number, tile in enumerate(tiles):
                row, column = divmod(number, columns)
                text += self.cfg.tile.replace("{row}", str(row + 1)).replace("{column}", str(column + 1))
                written += [text, tile]
                text = self.cfg.row_end if column == columns - 1 else ""
            text += self.cfg.tiles_end if tiles else ""
            written += [text + self.cfg.whole[0], whole]
            text = self.cfg.whole[1]
        return [piece for piece in (*written, text) if piece != ""]

    def _plan(self, size: Size, frames: int) -> Plan:
        rows, columns = self.grid(size)
        tiles = rows * columns if rows * columns > 1 else 0
        return Plan(frames, (View(self.size),) * (tiles + 1), size)

    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        rows, columns = self.grid(plan.size)
        if self.cfg.longest is not None:
            frames = self._resized(frames, with_long_side(plan.size, self.cfg.longest))
        canvas = (rows * self.size[0], columns * self.size[1])
        large = self._resized(frames, canvas) if rows * columns > 1 else frames
        tiles = [
            tile.contiguous()
            for row in torch.split(large, self.size[0], dim=2)
            for tile in torch.split(row, self.size[1], dim=3)
        ]
        seen = large if self.cfg.longest is not None else frames
        return [*(tiles if rows * columns > 1 else []), self._resized(seen, self.size).contiguous()]

    def _divided(self, size: Size, side: int) -> Size:
        assert self.cfg.longest is not None
        height, width = whole_tiles(with_long_side(size, self.cfg.longest), side)
        return height // side, width // side

    def _resized(self, frames: Tensor, size: Size) -> Tensor:
        if tuple(frames.shape[-2:]) == size:
            return frames
        if self.cfg.kernel == "pillow":
            return pillow(frames, size, self.cfg.filter)
        assert self.cfg.filter != "lanczos"
        return resize(frames, size, self.cfg.filter)


def _frames(tokens: Tokens) -> list[Tokens]:
    if tokens.extra:
        raise ValueError(f"tiles are read frame by frame, and {tokens.extra} tokens belong to no frame")
    frame = Grid(1, tokens.grid.h, tokens.grid.w)
    return [Tokens(piece, frame) for piece in torch.split(tokens.x, frame.cells, dim=1)]


def tiny() -> Part:
    """The smallest sensible instance: tiles of 8 x 8 pixels, up to four."""
    return Part(Part.Config(most=4), size=(8, 8))
