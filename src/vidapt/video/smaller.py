"""Sizes of pictures that are shown smaller than they are."""

from __future__ import annotations


def smaller(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) of a picture none of whose sides is longer than so many pixels; none is made larger.

    Args:
        size: (height, width) as it is.
        side: The longest side.
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
