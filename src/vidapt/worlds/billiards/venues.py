"""The venues as data: camera, cloth, light, ball set, players, and the style they are talked about in."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.worlds.cameras import Corners
from vidapt.worlds.venues import venue_called

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Venue:
    """A place where billiards is filmed.

    Attributes:
        name: What it is called in recipes and on the command line.
        style: Name of the phrasing used there (`styles.STYLES`).
        size: (width, height) of the footage in pixels, both even.
        corners: Where the camera sees the corners of the cloth, as shares of the picture's width and
            height: far left, far right, near right, near left (top left first when seen from above).
        white: Colour of the white ball.
        balls: The seven coloured balls.
        cloths: Cloth colours, one of which is drawn for each clip.
        rail: Colour of the wooden frame.
        floor: Colour of what surrounds the table.
        light: Range of brightness.
        tint: Colour of the light.
        jitter: Standard deviation of colours from clip to clip, in 8-bit steps.
        shirts: Colours of the players' shirts.
        lean: How far the players bend over the table, in metres (negative: they stand back).
        stance: How far to the left of the cue they stand, in metres (negative: right).
        shoulders: Radius of the shirt as seen from above, in metres.
    """

    name: str
    style: str
    size: tuple[int, int]
    corners: Corners
    white: Rgb
    balls: tuple[tuple[str, Rgb], ...]
    cloths: tuple[Rgb, ...]
    rail: Rgb
    floor: Rgb
    light: tuple[float, float]
    tint: tuple[float, float, float]
    jitter: float
    shirts: tuple[tuple[str, Rgb], ...]
    lean: float
    stance: float
    shoulders: float

    @property
    def ball_set(self) -> tuple[str, ...]:
        """Names of the coloured balls, slot 1 first."""
        return tuple(name for name, _ in self.balls)


_SHIRTS: tuple[tuple[str, Rgb], ...] = (
    ("white", (238, 238, 238)),
    ("red", (205, 35, 40)),
    ("blue", (40, 70, 205)),
    ("yellow", (232, 208, 45)),
    ("black", (22, 22, 26)),
    ("green", (35, 150, 70)),
)

_STANDARD_BALLS: tuple[tuple[str, Rgb], ...] = (
    ("yellow", (246, 218, 40)),
    ("blue", (50, 80, 240)),
    ("red", (225, 28, 34)),
    ("purple", (160, 50, 200)),
    ("orange", (250, 135, 25)),
    ("green", (100, 235, 80)),
    ("black", (18, 18, 20)),
)

HOME = Venue(
    name="home",
    style="home",
    size=(256, 144),
    corners=((0.0535, 0.1035), (0.9465, 0.1035), (0.9465, 0.8965), (0.0535, 0.8965)),
    white=(248, 248, 242),
    balls=_STANDARD_BALLS,
    cloths=((14, 104, 74), (26, 84, 132), (30, 110, 116), (44, 96, 62)),
    rail=(98, 62, 36),
    floor=(112, 108, 106),
    light=(0.88, 1.1),
    tint=(1.0, 1.0, 1.0),
    jitter=7.0,
    shirts=_SHIRTS,
    lean=-0.045,
    stance=0.03,
    shoulders=0.09,
)

CLUB = Venue(
    name="club",
    style="club",
    size=(256, 144),
    corners=((0.12, 0.14), (0.88, 0.14), (0.945, 0.88), (0.055, 0.88)),
    white=(250, 248, 238),
    balls=(
        ("yellow", (246, 218, 40)),
        ("blue", (50, 80, 240)),
        ("red", (225, 28, 34)),
        ("pink", (240, 120, 200)),
        ("orange", (250, 135, 25)),
        ("green", (100, 235, 80)),
        ("black", (18, 18, 20)),
    ),
    cloths=((70, 74, 82), (60, 66, 72)),
    rail=(62, 40, 30),
    floor=(98, 84, 76),
    light=(0.82, 1.0),
    tint=(1.03, 0.98, 0.9),
    jitter=5.0,
    shirts=_SHIRTS,
    lean=-0.04,
    stance=-0.03,
    shoulders=0.1,
)

HALL = Venue(
    name="hall",
    style="hall",
    size=(192, 108),
    corners=((0.105, 0.09), (0.955, 0.17), (0.895, 0.91), (0.045, 0.83)),
    white=(246, 246, 240),
    balls=_STANDARD_BALLS,
    cloths=((20, 92, 36), (34, 106, 44)),
    rail=(70, 48, 36),
    floor=(128, 124, 130),
    light=(0.82, 1.05),
    tint=(0.98, 1.0, 1.0),
    jitter=6.0,
    shirts=_SHIRTS,
    lean=0.03,
    stance=-0.09,
    shoulders=0.11,
)

VENUES = (HOME, CLUB, HALL)


def find_venue(name: str) -> Venue:
    """Return the venue called `name`.

    Raises:
        ConfigError: If there is none; the nearest name is offered.
    """
    return venue_called(name, VENUES)
