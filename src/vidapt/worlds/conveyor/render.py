"""Footage of a line: floor and belts that move, and parts, gates and the arm painted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidapt.worlds.cameras import homography, project
from vidapt.worlds.conveyor.line import BELT_WIDTH, COLOURS, FRAMES, HEIGHT, SEAM_M, belt_centres
from vidapt.worlds.conveyor.physics import Ran
from vidapt.worlds.conveyor.plan import Part, Plan
from vidapt.worlds.conveyor.venues import Venue
from vidapt.worlds.paint import (
    Layer,
    Rgb,
    Shape,
    add_noise,
    bounded,
    box,
    clouds,
    disc,
    either,
    ground,
    half_plane,
    polygon,
    ring,
    stamp,
    stripe,
    within,
    without,
)

_RAIL_M, _SEAM_M = 0.02, 0.012
_ARM_M, _PAD_M, _PAD_LONG_M = 0.03, 0.022, 0.085
_GATE_M, _GATE_LONG_M, _HAZARD_M = 0.028, BELT_WIDTH / 2 + 0.03, 0.07

SHAPES: dict[str, Shape] = {
    "disc": disc,
    "plate": box(0.84, 0.84),
    "wedge": polygon(3, 1.15),
    "ring": ring,
    "cross": either(box(1.0, 0.34), box(0.34, 1.0)),
    "bar": box(1.05, 0.4),
}
_CORNER = within(half_plane(0.0), half_plane(np.pi / 2))
_SCRATCH = stripe(np.pi / 4, 0.15)
_HALF = half_plane(np.pi, -0.05)


@dataclass(frozen=True, slots=True)
class _Look:
    """What varies in colour from clip to clip."""

    light: np.ndarray
    rng: np.random.Generator
    jitter: float

    def colour(self, rgb: Rgb, jitter: float | None = None) -> np.ndarray:
        """A colour under this clip's light, [3] float32."""
        drawn = np.asarray(rgb) + self.rng.normal(0, self.jitter if jitter is None else jitter, 3)
        return bounded(drawn * self.light)


def render(venue: Venue, plan: Plan, ran: Ran, rng: np.random.Generator) -> np.ndarray:
    """Film one clip.

    Args:
        venue: Where.
        plan: The belts and parts.
        ran: What became of them.
        rng: Draws the light, the tones and the noise.

    Returns:
        [FRAMES, H, W, 3] uint8.
    """
    look = _Look(np.asarray(venue.tint) * rng.uniform(*venue.light), rng, venue.jitter)
    film = _belts(venue, plan, ran, look)
    # What lies farther away is painted first, as the camera may look down from the near side.
    for number in np.argsort(-ran.places[-1, :, 1], kind="stable").tolist():
        frames = np.flatnonzero(ran.seen[:, number])
        part = plan.parts[number]
        spots, angles = ran.places[frames, number], ran.angles[frames, number]
        stamp(film, venue.view, frames, spots, part.radius, angles, _layers(part, venue, look))
    _gates(film, venue, plan, ran, look)
    _arm(film, venue, ran, look)
    add_noise(film, rng)
    return film


def _belts(venue: Venue, plan: Plan, ran: Ran, look: _Look) -> np.ndarray:
    """Floor and moving belts without anything on them, [FRAMES, H, W, 3] uint8."""
    metres, scale = ground(venue.view)
    rng, (height, width) = look.rng, scale.shape
    floor = look.colour(venue.floors[int(rng.integers(len(venue.floors)))])
    image = floor + clouds(height, width, rng) * venue.spots
    belt = look.colour(venue.belts[int(rng.integers(len(venue.belts)))])
    rail, seam = look.colour(venue.rail), bounded(belt * venue.seam)
    slope = rng.uniform(-0.12, 0.12, 2)
    shade = (1 + slope[0] * (metres[..., :1] - 1) + slope[1] * (metres[..., 1:] - 0.5)).astype(np.float32)
    covers = []
    for centre in belt_centres(len(plan.belts)):
        beyond = np.abs(metres[..., 1] - centre) - BELT_WIDTH / 2
        edge, cover = (np.clip(0.5 - (beyond - wide) * scale, 0, 1)[..., None] for wide in (_RAIL_M, 0))
        image += edge * (rail - image)
        image += cover * (belt - image)
        covers.append(cover[..., 0])
    film = np.repeat(bounded(image * shade).astype(np.uint8)[None], FRAMES, 0)
    for cover, moved in zip(covers, ran.moved.T, strict=True):
        _seams(film, venue, cover, moved, bounded(seam * shade))
    return film


def _seams(film: np.ndarray, venue: Venue, cover: np.ndarray, moved: np.ndarray, seam: np.ndarray) -> None:
    """Paint the seams of one belt, in place: on the rows that it covers, where it is by then."""
    metres, scale = ground(venue.view)
    rows = np.flatnonzero(cover.any(1))
    band = slice(rows[0], rows[-1] + 1)
    x, sharp, colour = metres[band, :, 0].astype(np.float32), scale[band].astype(np.float32), seam[band]
    for frame, way in zip(film, moved.astype(np.float32), strict=True):
        off = np.abs((x - way) % SEAM_M - SEAM_M / 2) - _SEAM_M
        line = np.clip(0.5 - off * sharp, 0, 1) * cover[band]
        at = line > 0
        below = frame[band][at].astype(np.float32)
        frame[band][at] = below + line[at][:, None] * (colour[at] - below)


def _layers(part: Part, venue: Venue, look: _Look) -> list[Layer]:
    """A part's shadow, its body, and its defect if it has one."""
    body, rgb = SHAPES[part.kind], dict(venue.colours)[part.colour]
    shape = without(body, _CORNER) if part.defect == "chip" else body
    shadow = Layer(np.full(3, 8, np.float32), shape, alpha=0.4, shift=(0.12, -0.14))
    layers = [shadow, Layer(look.colour(rgb, 3.0), shape)]
    light = sum(rgb) > 300
    if part.defect == "scratch":
        layers.append(
            Layer(look.colour((14, 14, 16) if light else (244, 244, 244), 2.0), within(shape, _SCRATCH))
        )
    elif part.defect == "patch":
        layers.append(Layer(look.colour((120, 78, 50), 3.0), within(shape, _HALF)))
    return layers


def _gates(film: np.ndarray, venue: Venue, plan: Plan, ran: Ran, look: _Look) -> None:
    """A closed gate: a bar across the belt in two colours."""
    metres, scale = ground(venue.view)
    tones = np.stack([look.colour(venue.gate), look.colour((20, 20, 22), 2.0)])
    for belt, centre in enumerate(belt_centres(len(plan.belts))):
        stripes = tones[((metres[..., 1] - centre) // _HAZARD_M % 2).astype(int)]
        for frame in np.flatnonzero(~np.isnan(ran.gates[:, belt])).tolist():
            x = metres[..., 0] - ran.gates[frame, belt]
            _blend(film[frame], box(_GATE_M, _GATE_LONG_M)(x, metres[..., 1] - centre), scale, stripes)


def _arm(film: np.ndarray, venue: Venue, ran: Ran, look: _Look) -> None:
    """The arm: a beam from the edge of the picture to a pad."""
    metres, scale = ground(venue.view)
    beam, pad = look.colour(venue.arm), look.colour((36, 38, 42))
    for frame in np.flatnonzero(~np.isnan(ran.arm[:, 0])).tolist():
        x, tip = ran.arm[frame]
        outwards = 1 if tip > HEIGHT / 2 else -1
        across, along = metres[..., 0] - x, (metres[..., 1] - tip) * outwards
        reach = np.maximum(np.abs(across) - _ARM_M, -along)
        _blend(film[frame], reach, scale, beam)
        _blend(film[frame], box(_PAD_LONG_M, _PAD_M)(across, along - _PAD_M), scale, pad)


def _blend(frame: np.ndarray, distance: np.ndarray, scale: np.ndarray, colour: np.ndarray) -> None:
    """Paint what lies within a distance of 0 metres on [H, W, 3] uint8, in place."""
    cover = np.clip(0.5 - distance * scale, 0, 1)[..., None]
    frame[:] = frame + cover * (colour - frame)


def tracks(venue: Venue, plan: Plan, ran: Ran) -> np.ndarray:
    """Where the part of each colour is in the picture.

    Returns:
        [FRAMES, len(COLOURS), 3] float16: whether its middle is in the picture (0 or 1), then x and y of that
        as shares of the picture's width and height (0 where it is not).
    """
    shares = project(homography(venue.view), ran.places) / np.asarray(venue.size)
    inside = ran.seen & ((shares > 0) & (shares < 1)).all(-1)
    found = np.zeros((FRAMES, len(COLOURS), 3), np.float16)
    for number, part in enumerate(plan.parts):
        slot = COLOURS.index(part.colour)
        found[:, slot, 0] = inside[:, number]
        found[:, slot, 1:] = np.where(inside[:, number, None], shares[:, number], 0.0)
    return found
