"""The whole frame for the first tower, and tiles of it for the second, merged into one map.

Source: Ferret-v2 (Zhang et al. 2024, arXiv 2404.07973): the grid of tiles is chosen as in LLaVA-NeXT, by
the largest effective resolution, then the least waste, among 1 x 1 to 1 x 6, 2 x 2, 2 x 3 and their
transposes. That a frame is squashed to its grid, not padded, is read from Ferret-UI's published code; the
paper does not say.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import field_validator
from torch import Tensor

from vidapt.nouns import Features, Plan, View
from vidapt.parts import PartConfig
from vidapt.resolutions._anyres_grid import choose_grid
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._resize import Filter, resize

WHOLE, TILES = 0, 1
"""Towers that look at the whole frame and at its tiles."""

_WIDE = ((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 2), (2, 3))
GRIDS = _WIDE + tuple((columns, rows) for rows, columns in _WIDE if rows != columns)
"""(rows, columns) of tiles in the paper."""


class Part(Checked):
    """Cut the whole frame for the first tower and tiles of the same size for the second.

    Args:
        cfg: Grids and filter.
        size: (height, width) of the first tower, in pixels; tiles have it too.
        width: Of the language model; nothing is learned here.
    """

    class Config(PartConfig):
        """Grids and filter.

        Attributes:
            grids: (rows, columns) of tiles to choose from; of two equally good ones the first is taken.
            filter: Resampling filter.
        """

        grids: tuple[tuple[int, int], ...] = GRIDS
        filter: Filter = "bicubic"

        @field_validator("grids")
        @classmethod
        def _some(cls, grids: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            if not grids or any(min(grid) < 1 for grid in grids):
                raise ValueError(f"give at least one grid of at least 1 x 1 tiles, got {grids}")
            return grids

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size

    def _plan(self, size: tuple[int, int], frames: int) -> Plan:
        """The whole frame, then its tiles row by row."""
        rows, columns = self.grid_for(size)
        tiles = (View(self.size, TILES),) * (rows * columns)
        return Plan(frames, (View(self.size, WHOLE), *tiles), size)

    def grid_for(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of tiles for a frame of `size` = (height, width) pixels."""
        return choose_grid(size, self.cfg.grids, self.size, resized=True)

    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        rows, columns = self.grid_for(plan.size)
        height, width = self.size
        close = resize(frames, (rows * height, columns * width), self.cfg.filter)
        bands = torch.split(close, height, dim=-2)
        tiles = [tile for band in bands for tile in torch.split(band, width, dim=-1)]
        return [view.contiguous() for view in (resize(frames, self.size, self.cfg.filter), *tiles)]

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """Merge the tiles into one map.

        Args:
            features: One per view of the plan.
            plan: What `plan` gave for these clips.

        Returns:
            One call: the features of the whole, and the merged map of the tiles.
        """
        rows, columns = self.grid_for(plan.size)
        first, *tiles = features
        merged = [
            torch.cat([tile.x for tile in tiles[row * columns : (row + 1) * columns]], dim=3)
            for row in range(rows)
        ]
        return [(first, Features(torch.cat(merged, dim=2)))]


def tiny() -> Part:
    """The smallest sensible instance: a whole of 8 x 8 pixels and one to four such tiles."""
    return Part(Part.Config(grids=((1, 1), (1, 2), (2, 1), (2, 2))), size=(8, 8))
