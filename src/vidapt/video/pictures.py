"""Stills, animations and folders of pictures as clips.

Pictures are opened by the plugin their first bytes ask for, never by Pillow's search through all of its
formats, and their size is checked here before any pixel is decoded, so that Pillow's global limit, which
belongs to the user's program, need not be touched.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.video.container import check_file, check_pixels
from vidapt.video.limits import Limits
from vidapt.video.pixels import Canvas

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
FOLDER_RATE = 1.0
"""Pictures per second of a folder, which says nothing about time itself."""

_DEFAULT_DELAY_S = 0.1
"""What browsers make of an animation frame that claims to last less than 20 ms."""


@dataclass(frozen=True, slots=True)
class Album:
    """What a picture clip holds.

    Attributes:
        kind: What it is.
        codec: Name of the picture format.
        width: Pixels of the first picture, orientation applied.
        height: Pixels of the first picture, orientation applied.
        starts_s: Moment each picture appears, in seconds.
        duration_s: Seconds until the last one disappears; 0 for a still.
        files: The pictures of a folder, in natural order; otherwise the file itself.
    """

    kind: Literal["still", "animation", "folder"]
    codec: str
    width: int
    height: int
    starts_s: tuple[float, ...]
    duration_s: float
    files: tuple[Path, ...]

    @property
    def frames(self) -> int:
        """Number of pictures."""
        return len(self.starts_s)


def is_picture(path: Path) -> bool:
    """Whether the clip is a folder or a file that starts like a picture."""
    return exists(path) and (path.is_dir() or (path.is_file() and _plugin(path) is not None))


def describe(path: Path, limits: Limits) -> Album:
    """Read the headers of a picture, an animation or a folder of pictures.

    Raises:
        BrokenClip: If there is no picture, one is broken, or a limit is exceeded.
    """
    if path.is_dir():
        return _folder(path, limits)
    with _picture(path, limits) as image:
        width, height = _upright_size(path, image)
        codec = str(image.format).lower()
        starts, end = _timeline(path, image, limits)
    kind: Literal["still", "animation"] = "animation" if len(starts) > 1 else "still"
    return Album(kind, codec, width, height, tuple(starts), end if len(starts) > 1 else 0.0, (path,))


def read(album: Album, wanted: list[int], canvas: Canvas, limits: Limits, deadline: float) -> None:
    """Put the pictures numbered `wanted` (one per row) on the canvas, each decoded once.

    Raises:
        BrokenClip: If one of them cannot be decoded, or `deadline` (monotonic clock) passes.
    """
    rows: dict[int, list[int]] = {}
    for row, index in enumerate(wanted):
        rows.setdefault(index, []).append(row)
    if album.kind == "folder":
        for index in sorted(rows):
            _check_clock(album.files[index], limits, deadline)
            with _picture(album.files[index], limits) as image:
                _put(canvas, rows[index], image, album.files[index])
        return
    with _picture(album.files[0], limits) as image:
        for index in sorted(rows):
            _check_clock(album.files[0], limits, deadline)
            _seek(image, index, album.files[0])
            _put(canvas, rows[index], image, album.files[0])


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame_9` before `frame_10`."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The pictures that make a folder a clip, in the order in which they are shown.

    Raises:
        OSError: If the folder cannot be read.
    """
    found = [entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    # `1.png` and `01.png` are equally natural; the order must not be that of the file system.
    return tuple(sorted(found, key=lambda file: (natural(file), file.name)))


def _folder(path: Path, limits: Limits) -> Album:
    try:
        files = pictures_in(path)
    except OSError as error:
        raise BrokenClip(path, f"the folder cannot be read ({error.strerror})") from error
    if not files:
        raise BrokenClip(path, "the folder holds no pictures")
    if len(files) > limits.frames:
        raise BrokenClip(path, f"it holds {len(files)} pictures, more than the limit of {limits.frames}")
    total = sum(file.stat().st_size for file in files)
    if total > limits.file_bytes:
        raise BrokenClip(path, f"its pictures have {total} bytes, more than the limit of {limits.file_bytes}")
    with _picture(files[0], limits) as image:
        width, height = _upright_size(files[0], image)
        codec = str(image.format).lower()
    starts = tuple(index / FOLDER_RATE for index in range(len(files)))
    return Album("folder", codec, width, height, starts, len(files) / FOLDER_RATE, files)


def _plugin(path: Path) -> type[ImageFile.ImageFile] | None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:  # whoever opens it as a video finds out what is wrong
        return None
    if head[:4] == b"RIFF":
        return WebPImagePlugin.WebPImageFile if head[8:12] == b"WEBP" else None
    return next((plugin for start, plugin in _PLUGINS.items() if head.startswith(start)), None)


_PLUGINS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
}


_BAD_DATA = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are cut off, damaged or claim to be huge."""


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Turn what Pillow raises for bad data into `BrokenClip`."""
    try:
        yield
    except _BAD_DATA as error:
        raise BrokenClip(path, f"it cannot be decoded as a picture ({error})") from error


@contextmanager
def _picture(path: Path, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    check_file(path, limits)
    plugin = _plugin(path)
    if plugin is None:
        raise BrokenClip(path, "it is not a picture")
    with _guarded(path):
        image = plugin(path)
    with image:
        check_pixels(path, *image.size, limits)
        yield image


def _timeline(path: Path, image: ImageFile.ImageFile, limits: Limits) -> tuple[list[float], float]:
    """Moments the frames of an animation appear, and the moment it ends."""
    with _guarded(path):  # a GIF is read to its end to count its frames
        animated = image.format in ("GIF", "WEBP", "PNG") and bool(getattr(image, "is_animated", False))
        count = int(getattr(image, "n_frames", 1)) if animated else 1
    if not animated:
        return [0.0], 0.0
    if count > limits.frames:
        raise BrokenClip(path, f"it has {count} frames, more than the limit of {limits.frames}")
    starts, now = [], 0.0
    for index in range(count):
        _seek(image, index, path)
        with _guarded(path):
            image.load()  # WebP tells how long a frame lasts only when it decodes it
        starts.append(now)
        delay = float(image.info.get("duration") or 0) / 1000
        now += delay if delay >= 0.02 else _DEFAULT_DELAY_S
    _seek(image, 0, path)
    if now > limits.seconds:
        raise BrokenClip(path, f"it is {now:.0f} s long, beyond the limit of {limits.seconds:g} s")
    return starts, now


def _check_clock(path: Path, limits: Limits, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise BrokenClip(path, f"reading it took longer than the limit of {limits.wall_s:g} s")


def _seek(image: ImageFile.ImageFile, index: int, path: Path) -> None:
    with _guarded(path):
        if image.tell() != index:
            image.seek(index)


def _upright_size(path: Path, image: ImageFile.ImageFile) -> tuple[int, int]:
    width, height = image.size
    with _guarded(path):
        orientation = image.getexif().get(0x0112, 1)
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _put(canvas: Canvas, rows: list[int], image: ImageFile.ImageFile, path: Path) -> None:
    with _guarded(path):
        rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    canvas.put(rows, av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"))
