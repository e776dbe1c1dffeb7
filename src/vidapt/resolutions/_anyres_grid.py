"""The integers of AnyRes: which grid of tiles a picture is cut into, and which cells of it are kept.

Every size is (height, width) or (rows, columns). Divisions are done in the order, and in the floats, of the
published code, because a cell more or less than the checkpoint's processor counted is a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Size = tuple[int, int]

Rounding = Literal["authors", "hf"]

SLACK = 1.1
"""How many times longer than allowed the sides of a map of cells may be before it is shrunk."""


def choose_grid(size: Size, grids: Sequence[Size], tile: Size, *, resized: bool) -> Size:
    """Choose the grid that shows most of a picture, and of those the one that wastes least.

    Args:
        size: Of the picture, in pixels.
        grids: Candidates, in tiles; the first of equals wins.
        tile: In pixels.
        resized: Whether the picture is resized to fit (else it is placed as it is, and cut off).
    """
    best, shown, wasted = grids[0], -1, 0
    for grid in grids:
        canvas = (grid[0] * tile[0], grid[1] * tile[1])
        pixels = _shown_resized(size, canvas) if resized else _shown_cropped(size, canvas)
        waste = canvas[0] * canvas[1] - pixels
        if pixels > shown or (pixels == shown and waste < wasted):
            best, shown, wasted = grid, pixels, waste
    return best


def _shown_resized(size: Size, canvas: Size) -> int:
    scale = min(canvas[1] / size[1], canvas[0] / size[0])
    return min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])


def _shown_cropped(size: Size, canvas: Size) -> int:
    return min(size[0], canvas[0]) * min(size[1], canvas[1])


def fitted(size: Size, canvas: Size) -> Size:
    """Size of a picture that fills a canvas as far as its shape lets it; at least one pixel."""
    tall, wide = canvas[0] / size[0], canvas[1] / size[1]
    if wide < tall:
        return min(math.ceil(size[0] * wide), canvas[0]), canvas[1]
    return canvas[0], min(math.ceil(size[1] * tall), canvas[1])


def padding_of_fitted(cells: Size, size: Size, rounding: Rounding) -> Size:
    """Rows above (and below) and columns left (and right) of a fitted picture that hold none of it.

    Published code keeps nothing of a picture so long and thin that it covers less than one cell of an even
    number of rows or columns (3 x 500 pixels in 24 x 72 cells); here the middle always stays.

    Args:
        cells: Of the whole grid of tiles.
        size: Of the picture, in pixels.
        rounding: What is done with a number of cells that is not whole: `authors` cuts it off, `hf` rounds
            it at the seventh decimal first. They differ where a float falls just short of a whole number.
    """
    rows, columns = cells
    height, width = size
    if width / height > columns / rows:
        return _cut(rows, _whole(height * (columns / width), rounding)), 0
    return 0, _cut(columns, _whole(width * (rows / height), rounding))


def padding_of_cropped(cells: Size, size: Size, canvas: Size) -> Size:
    """The same for a picture placed on the canvas without resizing."""
    rows, columns = (
        _cut(count, count * min(side, whole) // whole)
        for count, side, whole in zip(cells, size, canvas, strict=True)
    )
    return rows, columns


def _whole(cells: float, rounding: Rounding) -> int:
    return int(round(cells, 7) if rounding == "hf" else cells)


def _cut(count: int, kept: int) -> int:
    return (count - max(1, kept)) // 2


def shrunk(cells: Size, most: int) -> Size:
    """Size to which a map of cells is shrunk so that it has about `most`; its own if it has few enough."""
    rows, columns = cells
    ratio = math.sqrt(rows * columns / most)
    if ratio <= SLACK:
        return cells
    return max(1, int(rows // ratio)), max(1, int(columns // ratio))
