"""The integers of `tiles`: how many tiles a picture is cut into, and to which sizes it is brought for that.

Every size is (height, width) or (rows, columns). Divisions are done in the order, and in the floats, of the
published code, because a tile more or less than the checkpoint's processor counted is a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

Size = tuple[int, int]

_CROWDED = 0.5
"""Of equally shaped grids the larger is taken while the picture has more than this part of its pixels."""


def grids(least: int, most: int) -> list[Size]:
    """All grids of `least` to `most` tiles, those of fewer tiles first; of equally many, tall ones first."""
    every = ((rows, columns) for columns in range(1, most + 1) for rows in range(1, most // columns + 1))
    return sorted((grid for grid in every if grid[0] * grid[1] >= least), key=lambda g: g[0] * g[1])


def nearest_shape(size: Size, candidates: Iterable[Size], tile: Size) -> Size:
    """The grid whose ratio of sides is nearest to the picture's.

    Args:
        size: Of the picture, in pixels.
        candidates: Grids, small ones first.
        tile: In pixels.
    """
    ratio, area = size[1] / size[0], size[0] * size[1]
    best, least = (1, 1), math.inf
    for rows, columns in candidates:
        difference = abs(ratio - columns / rows)
        worth = area > _CROWDED * tile[0] * tile[1] * columns * rows
        if difference < least or (difference == least and worth):
            best, least = (rows, columns), difference
    return best


def with_long_side(size: Size, longest: int) -> Size:
    """The size of a picture whose long side is brought to a length; the short one becomes even."""
    height, width = size
    ratio = width / height
    if width >= height:
        return max(_even(int(longest / ratio)), 1), longest
    return longest, max(_even(int(longest * ratio)), 1)


def whole_tiles(size: Size, side: int) -> Size:
    """The least size in whole tiles that holds a picture whose long side is brought to whole tiles first."""
    height, width = size
    ratio = width / height
    if width >= height:
        width = _up(width, side)
        return _up(int(width / ratio), side), width
    height = _up(height, side)
    return height, _up(int(height * ratio), side)


def _even(length: int) -> int:
    return length + length % 2


def _up(length: int, unit: int) -> int:
    return math.ceil(length / unit) * unit
