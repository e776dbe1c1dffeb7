"""What part of a picture a view shows, found by cutting a picture whose pixels say where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_ENOUGH = 4
"""Pixels that a line is laid through at least."""


@dataclass(frozen=True)
class Area:
    """What part of a picture a view shows, as shares of the picture's width and height.

    Attributes:
        left: Left edge; below 0 where the view has a border.
        top: Upper edge.
        width: Width; above 1 where the view has a border.
        height: Height.
    """

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


WHOLE = Area()


def area_of(cut: Callable[[Tensor], Tensor], size: tuple[int, int], frames: int = 1) -> Area:
    """What part of the pictures a view shows.

    Works for whatever cuts, scales or pads along the axes: two pictures are cut whose red grows from left to
    right and whose green grows from top to bottom. Blue is none in one and full in the other, which tells the
    picture from a border.

    Args:
        cut: [T, H, W, 3] uint8 to [T, 3, h, w] of one view.
        size: (height, width) of the pictures that are cut.
        frames: T.

    Returns:
        The area, within about a hundredth; the whole, where the view is too small to tell.
    """
    height, width = size
    ramp = torch.zeros(1, height, width, 3)
    ramp[..., 0] = (torch.arange(width) + 0.5) / width * 255
    ramp[..., 1] = ((torch.arange(height) + 0.5) / height * 255)[:, None]
    dark = cut(_film(ramp, frames))[0].double()
    ramp[..., 2] = 255
    bright = cut(_film(ramp, frames))[0].double()
    picture = bright[2] - dark[2] > 250
    left, across = _line(dark[0], picture, axis=1)
    top, down = _line(dark[1], picture, axis=0)
    return Area(left, top, across, down)


def _film(picture: Tensor, frames: int) -> Tensor:
    """[1, H, W, 3] -> [T, H, W, 3] uint8, in the memory of one frame."""
    return picture.round().to(torch.uint8).expand(frames, -1, -1, -1)


def _line(shares: Tensor, picture: Tensor, axis: int) -> tuple[float, float]:
    """Where the first edge of the view lies on an axis of the picture, and how much of it the view covers."""
    view = (torch.arange(shares.shape[axis], dtype=torch.float64) + 0.5) / shares.shape[axis]
    view = view.expand_as(shares) if axis == 1 else view[:, None].expand_as(shares)
    # Filters bend the ramp at the picture's own edges.
    inner = picture & (shares > 20) & (shares < 235)
    x, y = view[inner], shares[inner] / 255
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) >= _ENOUGH else 0.0
    if spread == 0:
        return 0.0, 1.0
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    return float(y.mean()) - slope * float(x.mean()), slope
