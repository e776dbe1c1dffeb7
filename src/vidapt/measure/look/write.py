"""A film as GIF, MP4 or a sheet of pictures, by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidapt.errors import ConfigError, nearest
from vidapt.files import check_file, disk_errors, write_file
from vidapt.measure.look.draw import Pixels, grid
from vidapt.video import write_mp4

STILL_S = 1.0
"""How long the only frame of a film is shown."""

_QUICKEST_S, _SLOWEST_S = 0.04, 2.0


def check_ending(path: Path) -> None:
    """Find out whether a film can be written under a name.

    Raises:
        ConfigError: If the ending is none of those known, something other than a file has that name, or a
            file stands where its folder would be.
        VidaptError: If nothing can be written there.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ConfigError(
            path, f"the ending {path.suffix!r} cannot be written", nearest(path.suffix.lower(), _WRITERS)
        )
    check_file(path)


def write_film(path: Path, film: Pixels, times_s: NDArray[np.float64]) -> None:
    """Write a film; the file appears when it is complete.

    Args:
        path: Ends in `.gif` (frames last as long as between their moments), `.mp4` (frames evenly spaced) or
            `.png` (one sheet).
        film: [T, H, W, 3] uint8.
        times_s: [T], moments of the frames.

    Raises:
        ConfigError: If the name has another ending.
        VidaptError: If the disk is full or may not be written.
    """
    check_ending(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[path.suffix.lower()](path, film, _lasting(times_s))


def _lasting(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T] seconds each frame is shown; the last one as long as the one before it."""
    if len(times_s) == 1:
        return np.array([STILL_S])
    steps = np.clip(np.diff(times_s), _QUICKEST_S, _SLOWEST_S)
    return np.append(steps, steps[-1])


def _gif(path: Path, film: Pixels, lasting: NDArray[np.float64]) -> None:
    # One palette for all, so that colours do not flicker.
    spread = Image.fromarray(np.concatenate(list(film[:: max(1, len(film) // 8)])))
    palette = spread.quantize(256, dither=Image.Dither.NONE)
    frames = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in film]
    # A GIF counts in hundredths of a second.
    durations = [10 * max(4, round(100 * seconds)) for seconds in lasting.tolist()]

    def save(temporary: Path) -> None:
        frames[0].save(
            temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
        )

    write_file(path, save)


def _mp4(path: Path, film: Pixels, lasting: NDArray[np.float64]) -> None:
    write_file(path, lambda temporary: write_mp4(temporary, film, 1 / float(lasting.mean())))


def _png(path: Path, film: Pixels, lasting: NDArray[np.float64]) -> None:
    del lasting  # a sheet shows all at once
    sheet = Image.fromarray(grid(film))
    write_file(path, lambda temporary: sheet.save(temporary, "PNG"))


_WRITERS: dict[str, Callable[[Path, Pixels, NDArray[np.float64]], None]] = {
    ".gif": _gif,
    ".mp4": _mp4,
    ".png": _png,
}
