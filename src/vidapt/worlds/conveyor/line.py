"""The line: sizes in metres, origin at the near left corner of the filmed floor, x to the right, y away.

One to three belts cross the picture side by side. Parts are large beside real ones, so that each still covers
a dozen pixels in small footage.
"""

from __future__ import annotations

WIDTH = 2.0
HEIGHT = 1.12
BELT_WIDTH = 0.25
SEAM_M = 0.5
"""From one seam of a belt to the next; the fastest belt moves less than half of it between the frames that
are looked at, so that nobody can mistake its direction."""

FPS = 10
FRAMES = 40
END_S = (FRAMES - 1) / FPS

COLOURS = ("white", "yellow", "blue", "red", "purple", "orange", "green", "black")
"""No two parts of a clip have one colour; a part's slot is its colour's place here."""
KINDS = ("disc", "plate", "wedge", "ring", "cross", "bar")
SIZES = {"large": 0.12, "small": 0.077}
"""Half of a part's length."""
DEFECTS = ("scratch", "chip", "patch")
SOUND = "none"
"""What stands in a part's record where it has no defect."""
BELTS = ("upper", "middle", "lower")

_CENTRES = {1: (0.56,), 2: (0.74, 0.38), 3: (0.85, 0.56, 0.27)}
_NAMES = {1: ("middle",), 2: ("upper", "lower"), 3: BELTS}


def belt_names(count: int) -> tuple[str, ...]:
    """Names of so many belts, the one farthest away first."""
    return _NAMES[count]


def belt_centres(count: int) -> tuple[float, ...]:
    """The y of so many belts' middle lines, the one farthest away first."""
    return _CENTRES[count]
