"""Stills, animations and folders of pictures as clips."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ImageFile, ImageOps

from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.video.animations import animation
from vidapt.video.limits import Limits
from vidapt.video.picture_file import guarded_picture, looks_like_picture, picture, upright_size
from vidapt.video.pixels import Canvas
from vidapt.video.suffixes import PICTURE_SUFFIXES
from vidapt.video.tones import to_rgb

FOLDER_RATE = 1.0
"""Pictures per second of a folder of which nobody says it; whoever uses one is told."""

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
        skipped: Pictures of the file in front of the first one.
        assumed: Whether the rate of a folder is `FOLDER_RATE` because nobody says it.
    """

    kind: Literal["still", "animation", "folder"]
    codec: str
    width: int
    height: int
    starts_s: tuple[float, ...]
    duration_s: float
    files: tuple[Path, ...]
    skipped: int = 0
    assumed: bool = False

    @property
    def frames(self) -> int:
        """Number of pictures."""
        return len(self.starts_s)


def is_picture(path: Path) -> bool:
    """Whether the clip is a folder or a file that starts like a picture."""
    return exists(path) and (path.is_dir() or (path.is_file() and looks_like_picture(path)))


def describe(path: Path, limits: Limits, rate: float | None = None) -> Album:
    """Read the headers of a picture, an animation or a folder of pictures.

    Args:
        path: What to describe.
        limits: What it may cost.
        rate: Pictures per second of a folder.

    Raises:
        BrokenClip: If there is no picture, one is broken, a limit is exceeded, or a rate is given of what is
            no folder.
    """
    if path.is_dir():
        return _folder(path, limits, rate)
    refuse_rate(path, rate)
    deadline = time.monotonic() + limits.wall_s
    with picture(path, limits, headers=True) as image:
        width, height = upright_size(path, image)
        name = str(image.format)
    with guarded_picture(path):
        found = animation(path, name, lambda: _check_clock(path, limits, deadline))
    count, codec = len(found.delays_s), name.lower()
    if count > limits.frames:
        raise BrokenClip(path, f"it has {count} frames, more than the limit of {limits.frames}")
    starts, end = _timeline(found.delays_s)
    if end > limits.seconds:
        raise BrokenClip(path, f"it is {end:.0f} s long, beyond the limit of {limits.seconds:g} s")
    if count > 1:
        return Album("animation", codec, width, height, starts, end, (path,), found.skipped)
    return Album("still", codec, width, height, (0.0,), 0.0, (path,), found.skipped)


def refuse_rate(path: Path, rate: float | None) -> None:
    """Refuse a rate where a file tells its times itself.

    Raises:
        BrokenClip: If one is given.
    """
    if rate is not None:
        raise BrokenClip(path, f"fps {rate:g} is given of it, and it is no folder of pictures")


def read(album: Album, wanted: list[int], canvas: Canvas, limits: Limits, deadline: float) -> tuple[str, ...]:
    """Put the pictures numbered `wanted` (one per row) on the canvas, each decoded once, one at a time.

    Returns:
        What a user should know.

    Raises:
        BrokenClip: If one of them cannot be decoded, or `deadline` (monotonic clock) passes.
    """
    rows: dict[int, list[int]] = {}
    for row, index in enumerate(wanted):
        rows.setdefault(index, []).append(row)
    notes: dict[str, None] = {}
    if album.assumed and album.frames > 1:
        notes[f"nothing says its fps; {FOLDER_RATE:g} is assumed"] = None
    if album.kind == "folder":
        for index in sorted(rows):
            _check_clock(album.files[index], limits, deadline)
            with picture(album.files[index], limits, canvas.size) as image:
                notes[_put(canvas, rows[index], image, album.files[index])] = None
    else:
        path = album.files[0]
        with picture(path, limits, canvas.size) as image:
            for index in range(max(rows) + 1):  # each frame is drawn over the one before it
                _check_clock(path, limits, deadline)
                _seek(image, index + album.skipped, path)
                if index in rows:
                    animated = album.kind == "animation"
                    notes[_put(canvas, rows[index], image, path, animated=animated)] = None
    return tuple(note for note in notes if note)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame_9` before `frame_10`."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """The pictures that make a folder a clip, in the order in which they are shown.

    Raises:
        OSError: If the folder cannot be read.
    """
    found = [
        entry for entry in folder.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES and entry.is_file()
    ]
    # `1.png` and `01.png` are equally natural; the order must not be that of the file system.
    return tuple(sorted(found, key=lambda file: (natural(file), file.name)))


def _folder(path: Path, limits: Limits, rate: float | None) -> Album:
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
    with picture(files[0], limits, headers=True) as image:
        width, height = upright_size(files[0], image)
        codec = str(image.format).lower()
    per_second = rate or FOLDER_RATE
    starts = tuple(index / per_second for index in range(len(files)))
    length = len(files) / per_second
    return Album("folder", codec, width, height, starts, length, files, assumed=rate is None)


def _timeline(delays_s: tuple[float, ...]) -> tuple[tuple[float, ...], float]:
    """Moments the frames of an animation appear, and the moment it ends."""
    starts, now = [], 0.0
    for delay in delays_s:
        starts.append(now)
        now += delay if delay >= 0.02 else _DEFAULT_DELAY_S
    return tuple(starts), now


def _check_clock(path: Path, limits: Limits, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise BrokenClip(path, f"reading it took longer than the limit of {limits.wall_s:g} s")


def _seek(image: ImageFile.ImageFile, index: int, path: Path) -> None:
    with guarded_picture(path):
        if image.tell() != index:
            image.seek(index)


def _put(
    canvas: Canvas, rows: list[int], image: ImageFile.ImageFile, path: Path, *, animated: bool = False
) -> str:
    """Convert the picture that an open file stands at; return what is to be told of it."""
    with guarded_picture(path):
        image.load()
        if animated:  # the file goes on from this frame, which is not to be changed
            rgb, note = to_rgb(ImageOps.exif_transpose(image))
        else:
            ImageOps.exif_transpose(image, in_place=True)
            rgb, note = to_rgb(image)
    canvas.put_rgb(rows, rgb)
    return note
