"""Decoded frames to RGB arrays: colour, size and orientation in one place."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidapt.errors import BrokenClip
from vidapt.video.limits import Limits
from vidapt.video.pose import SQUARE_AND_UPRIGHT, Pose

SCALING = Interpolation.BICUBIC
"""How pixels are interpolated. When shrinking, swscale widens its filter, so nothing aliases, as Pillow and
CLIP's preprocessing do. Without resizing it decides how coarse colour (4:2:0) of more than 8 bits is spread
over the pixels: bicubic is what FFmpeg's own tools take, to the bit, and nearer than bilinear to the colours
there were before (off by 4.1 against 4.4 levels on average at hard edges). Of 8 bits swscale repeats colours,
whatever is asked for, unless the height is odd."""

BACKGROUND = 255
"""What is transparent shows this: white, as paper and most viewers of pictures do."""

_WIDE = frozenset({10, 14})
"""Matrices of wide colour that swscale cannot undo (ITU-T H.273: BT.2020 with constant luminance, ICtCp)."""


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
    def size(self) -> tuple[int, int] | None:
        """(height, width) pictures are resized to; None before one of its own size was put."""
        return None if self._pixels is None else (self._pixels.shape[1], self._pixels.shape[2])

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[T, H, W, 3] uint8, RGB.

        Raises:
            BrokenClip: If no frame was put on it.
        """
        if self._pixels is None:
            raise BrokenClip(self._path, "none of its frames can be decoded")
        return self._pixels

    def put(self, rows: Iterable[int], frame: VideoFrame, pose: Pose = SQUARE_AND_UPRIGHT) -> None:
        """Convert `frame` once and write it to every one of `rows`."""
        if self._pixels is None:
            self._allocate(*pose.shown_size(frame))
        height, width = self.pixels.shape[1:3]
        turn = pose.turn
        if turn.transposed:
            height, width = width, height
        rgb = self._rgb(frame, height, width)
        if turn.transposed:
            rgb = rgb.swapaxes(0, 1)
        rgb = rgb[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1]
        for row in rows:
            self.pixels[row] = rgb

    def put_rgb(self, rows: Iterable[int], rgb: NDArray[np.uint8]) -> None:
        """Write a picture, [H, W, 3] RGB, to every one of `rows`, resized to the size of the others."""
        if self._pixels is None:
            self._allocate(*rgb.shape[:2])
        if rgb.shape == self.pixels.shape[1:]:
            for row in rows:
                self.pixels[row] = rgb
        else:
            self.put(rows, VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24"))

    def _rgb(self, frame: VideoFrame, height: int, width: int) -> NDArray[np.uint8]:
        if not _has_alpha(frame.format.name):
            return self._converted(frame, height, width, "rgb24")
        rgba = self._converted(frame, height, width, "rgba").astype(np.uint16)
        alpha = rgba[..., 3:]
        return ((rgba[..., :3] * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)

    def _converted(self, frame: VideoFrame, height: int, width: int, pixels: str) -> NDArray[np.uint8]:
        """Convert, with another matrix where swscale knows how to undo none such as the file's.

        FFmpeg's tools do the same. Of wide colours BT.2020's common matrix is taken, else BT.601's, as where
        a file does not say.
        """
        try:
            return self._reformatted(frame, height, width, pixels, None)
        except (av.FFmpegError, OSError):
            other = Colorspace.BT2020 if frame.colorspace in _WIDE else Colorspace.ITU601
            return self._reformatted(frame, height, width, pixels, other)

    def _reformatted(
        self, frame: VideoFrame, height: int, width: int, pixels: str, matrix: Colorspace | None
    ) -> NDArray[np.uint8]:
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=pixels,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=SCALING,
            threads=1,
        )
        return cast("NDArray[np.uint8]", converted.to_ndarray())

    def _allocate(self, height: int, width: int) -> None:
        check_memory(self._path, self._count, height, width, self._limits)
        self._pixels = np.empty((self._count, height, width, 3), np.uint8)


def check_memory(path: Path, count: int, height: int, width: int, limits: Limits) -> None:
    """Raise `BrokenClip` if that many frames of a size take more than a clip may."""
    size = count * height * width * 3
    if size > limits.memory_bytes:
        raise BrokenClip(
            path,
            f"{count} frames of {width}x{height} take {size} bytes, more than the limit of "
            f"{limits.memory_bytes}; take fewer, or have them resized while they are decoded",
        )


@cache
def _has_alpha(name: str) -> bool:
    pixels = VideoFormat(name)
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)
