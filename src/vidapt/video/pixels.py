"""Decoded frames to RGB arrays: colour, size and orientation in one place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidapt.errors import BrokenClip
from vidapt.video.limits import Limits

RESIZE = Interpolation.BICUBIC
"""swscale widens its filter when shrinking, so nothing aliases, as Pillow and CLIP's preprocessing do."""


class Canvas:
    """The [T, H, W, 3] array of one clip, filled frame by frame.

    Args:
        path: The clip, for errors.
        count: T, the number of frames.
        size: (height, width) to resize to, after rotation; None keeps the size of the frame put first.
        limits: What the clip may cost.
    """

    def __init__(self, path: Path, count: int, size: tuple[int, int] | None, limits: Limits) -> None:
        self._path, self._count, self._size, self._limits = path, count, size, limits
        self._reformatter = VideoReformatter()
        self._pixels: NDArray[np.uint8] | None = None
        if size is not None:
            self._allocate(*size)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[T, H, W, 3] uint8, RGB.

        Raises:
            BrokenClip: If no frame was put on it.
        """
        if self._pixels is None:
            raise BrokenClip(self._path, "none of its frames can be decoded")
        return self._pixels

    def put(self, rows: Iterable[int], frame: VideoFrame) -> None:
        """Convert `frame` once and write it to every one of `rows`."""
        transposed, flip_y, flip_x = orientation(frame)
        if self._pixels is None:
            self._allocate(*shown_size(frame))
        height, width = self.pixels.shape[1:3]
        if transposed:
            height, width = width, height
        same = (frame.height, frame.width) == (height, width)
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.BILINEAR if same else RESIZE,
            threads=1,
        ).to_ndarray()
        if transposed:
            rgb = rgb.swapaxes(0, 1)
        rgb = rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        for row in rows:
            self.pixels[row] = rgb

    def _allocate(self, height: int, width: int) -> None:
        size = self._count * height * width * 3
        if size > self._limits.memory_bytes:
            raise BrokenClip(
                self._path,
                f"{self._count} frames of {width}x{height} take {size} bytes, "
                f"more than the limit of {self._limits.memory_bytes}",
            )
        self._pixels = np.empty((self._count, height, width, 3), np.uint8)


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a stored frame becomes the shown one: whether to transpose, then flip rows, then flip columns.

    The display matrix maps a stored point (x, y) to (a x + c y, b x + d y); rows of three 16.16 numbers.
    An angle that is not a multiple of 90 degrees is rounded to one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(memoryview(cast("Buffer", matrix)), np.int32, count=5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def quarter_turns(frame: VideoFrame) -> int:
    """Counter-clockwise quarter turns that lead from the stored frame to the shown one, flips aside."""
    transposed, flip_y, flip_x = orientation(frame)
    if transposed:
        return 1 if flip_y else 3
    return 2 if flip_y and flip_x else 0


def shown_size(frame: VideoFrame) -> tuple[int, int]:
    """(height, width) of a frame as it is shown."""
    return (frame.width, frame.height) if orientation(frame)[0] else (frame.height, frame.width)
