"""The venues as data: which things, which backgrounds and cameras, and the style they are talked about in."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.worlds.paint import Rgb
from vidapt.worlds.shapes.field import COLOURS, KINDS, TEXTURES
from vidapt.worlds.venues import venue_called


@dataclass(frozen=True, slots=True)
class Venue:
    """A kind of footage.

    Attributes:
        name: What it is called in recipes and on the command line.
        style: Name of the phrasing used there (`styles.STYLES`).
        size: (width, height) of the footage in pixels, both even.
        colours: The colours of things.
        kinds: Their kinds.
        textures: Their textures.
        floors: Colours of the background; empty: any grey or muted colour.
        patterns: Which of `backgrounds.PATTERNS` are drawn.
        inset: By what share of the picture the corners of the field may lie inside (negative: outside) it.
        tilt: By what share of the picture each corner is moved at random.
        shake: Most pixels by which the camera is off in a frame.
        light: Range of brightness.
        jitter: Standard deviation of colours from clip to clip, in 8-bit steps.
    """

    name: str
    style: str
    size: tuple[int, int]
    colours: tuple[tuple[str, Rgb], ...]
    kinds: tuple[str, ...]
    textures: tuple[str, ...]
    floors: tuple[Rgb, ...]
    patterns: tuple[str, ...]
    inset: tuple[float, float]
    tilt: float
    shake: int
    light: tuple[float, float]
    jitter: float

    @property
    def palette(self) -> tuple[str, ...]:
        """Names of the colours of things."""
        return tuple(name for name, _ in self.colours)


_RGB: tuple[Rgb, ...] = (
    (246, 246, 240),
    (246, 218, 40),
    (50, 80, 240),
    (225, 28, 34),
    (160, 50, 200),
    (250, 135, 25),
    (70, 215, 75),
    (18, 18, 20),
)
_STANDARD = tuple(zip(COLOURS, _RGB, strict=True))
_OTHERS = ("moon", "heart", "dart")
"""Kinds that the mix does not show, so that `pond` is strange to who learned from the mix."""

MIX = Venue(
    name="mix",
    style="plain",
    size=(256, 144),
    colours=_STANDARD,
    kinds=tuple(kind for kind in KINDS if kind not in _OTHERS),
    textures=TEXTURES,
    floors=(),
    patterns=("flat", "clouds", "boards", "tiles", "waves"),
    inset=(-0.02, 0.03),
    tilt=0.05,
    shake=2,
    light=(0.75, 1.12),
    jitter=9.0,
)

POND = Venue(
    name="pond",
    style="pond",
    size=(224, 128),
    colours=tuple((name, rgb) for name, rgb in _STANDARD if name not in ("blue", "purple")),
    kinds=("disc", "triangle", "star", "bar", *_OTHERS),
    textures=("plain", "striped", "halved"),
    floors=((42, 86, 120), (36, 98, 112)),
    patterns=("ripples",),
    inset=(0.0, 0.0),
    tilt=0.03,
    shake=0,
    light=(0.85, 1.05),
    jitter=5.0,
)

VENUES = (MIX, POND)


def find_venue(name: str) -> Venue:
    """Return the venue called `name`.

    Raises:
        ConfigError: If there is none; the nearest name is offered.
    """
    return venue_called(name, VENUES)
