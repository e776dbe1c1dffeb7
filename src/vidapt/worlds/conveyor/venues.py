"""The venues as data: camera, belts, light, colours, and the style they are talked about in."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.worlds.cameras import Corners, View
from vidapt.worlds.conveyor.line import COLOURS, HEIGHT, WIDTH
from vidapt.worlds.paint import Rgb
from vidapt.worlds.venues import venue_called


@dataclass(frozen=True, slots=True)
class Venue:
    """A place where a line is filmed.

    Attributes:
        name: What it is called in recipes and on the command line.
        style: Name of the phrasing used there (`styles.STYLES`).
        size: (width, height) of the footage in pixels, both even.
        corners: Where the camera sees the corners of the floor, as shares of the picture's width and height:
            far left, far right, near right, near left.
        colours: The colours of parts.
        belts: Colours of belts, one of which is drawn for each clip.
        seam: Brightness of a belt's seams beside the belt's own.
        floors: Colours of the floor.
        rail: Colour of what frames the belts.
        gate: Colour of a closed gate, beside black.
        arm: Colour of the arm.
        light: Range of brightness.
        tint: Colour of the light.
        jitter: Standard deviation of colours from clip to clip, in 8-bit steps.
        spots: How much brighter and darker the floor is in places.
    """

    name: str
    style: str
    size: tuple[int, int]
    corners: Corners
    colours: tuple[tuple[str, Rgb], ...]
    belts: tuple[Rgb, ...]
    seam: float
    floors: tuple[Rgb, ...]
    rail: Rgb
    gate: Rgb
    arm: Rgb
    light: tuple[float, float]
    tint: tuple[float, float, float]
    jitter: float
    spots: float

    @property
    def view(self) -> View:
        """The camera."""
        return View(self.size, (WIDTH, HEIGHT), self.corners)

    @property
    def palette(self) -> tuple[str, ...]:
        """Names of the colours of parts."""
        return tuple(name for name, _ in self.colours)


_RGB: dict[str, Rgb] = {
    "white": (246, 246, 240),
    "yellow": (246, 218, 40),
    "blue": (50, 80, 240),
    "red": (225, 28, 34),
    "purple": (160, 50, 200),
    "orange": (250, 135, 25),
    "green": (60, 205, 70),
    "black": (18, 18, 20),
}


def _paints(*without: str, **changed: Rgb) -> tuple[tuple[str, Rgb], ...]:
    """The standard colours but for some, with others in their own tone."""
    return tuple((name, changed.get(name, _RGB[name])) for name in COLOURS if name not in without)


WORKS = Venue(
    name="works",
    style="works",
    size=(256, 144),
    corners=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    colours=_paints(),
    belts=((104, 106, 112), (92, 98, 110), (112, 106, 98)),
    seam=0.72,
    floors=((152, 148, 140), (136, 140, 146)),
    rail=(62, 64, 70),
    gate=(240, 200, 30),
    arm=(214, 120, 40),
    light=(0.86, 1.08),
    tint=(1.0, 1.0, 1.0),
    jitter=6.0,
    spots=5.0,
)

PLANT = Venue(
    name="plant",
    style="plant",
    size=(256, 144),
    corners=((0.1, 0.03), (0.9, 0.03), (1.06, 1.0), (-0.06, 1.0)),
    colours=_paints("green", red=(215, 40, 50), blue=(60, 90, 230)),
    belts=((42, 96, 70), (38, 84, 66)),
    seam=1.35,
    floors=((116, 104, 92), (104, 96, 90)),
    rail=(170, 164, 150),
    gate=(230, 60, 40),
    arm=(60, 70, 96),
    light=(0.84, 1.05),
    tint=(1.05, 0.99, 0.9),
    jitter=5.0,
    spots=12.0,
)

DEPOT = Venue(
    name="depot",
    style="depot",
    size=(192, 108),
    corners=((0.03, -0.03), (0.99, 0.05), (0.97, 1.03), (0.01, 0.95)),
    colours=_paints("black", "purple", white=(236, 240, 244), green=(90, 220, 90)),
    belts=((40, 42, 50), (50, 46, 44)),
    seam=1.6,
    floors=((70, 88, 112), (84, 92, 104)),
    rail=(196, 178, 60),
    gate=(236, 236, 236),
    arm=(120, 150, 60),
    light=(0.8, 1.0),
    tint=(0.94, 1.0, 1.04),
    jitter=7.0,
    spots=8.0,
)

VENUES = (WORKS, PLANT, DEPOT)


def find_venue(name: str) -> Venue:
    """Return the venue called `name`.

    Raises:
        ConfigError: If there is none; the nearest name is offered.
    """
    return venue_called(name, VENUES)
