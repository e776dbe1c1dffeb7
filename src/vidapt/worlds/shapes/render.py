"""Footage of things on a field, seen by a camera that may stand askew and shake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidapt.worlds.cameras import Corners, View, homography, project
from vidapt.worlds.paint import NOISE, Layer, Rgb, add_noise, bounded, ground, stamp
from vidapt.worlds.shapes.backgrounds import PATTERNS
from vidapt.worlds.shapes.field import COLOURS, FRAMES, HEIGHT, WIDTH
from vidapt.worlds.shapes.forms import SHAPES, marks
from vidapt.worlds.shapes.physics import Moved
from vidapt.worlds.shapes.plan import Thing
from vidapt.worlds.shapes.venues import Venue

_FAR = 70.0
"""How much a random background differs at least from every thing's colour, summed over channels."""


@dataclass(frozen=True, slots=True)
class Camera:
    """How a clip is filmed: `view` of a picture `margin` pixels larger on all sides, and its shake."""

    view: View
    margin: int
    shake: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """(width, height) of the footage in pixels."""
        return np.asarray(self.view.size) - 2 * self.margin


def camera(venue: Venue, rng: np.random.Generator) -> Camera:
    """Draw where a clip's camera stands and how it shakes, [FRAMES, 2] whole pixels across and down."""
    inset = rng.uniform(*venue.inset)
    ideal = ((inset, inset), (1 - inset, inset), (1 - inset, 1 - inset), (inset, 1 - inset))
    moved = np.asarray(ideal) + rng.uniform(-venue.tilt, venue.tilt, (4, 2))
    margin = 2 * venue.shake
    size = np.asarray(venue.size) + 2 * margin
    corners: Corners = tuple(  # type: ignore[assignment]
        (float(u), float(v)) for u, v in (moved * venue.size + margin) / size
    )
    walk = rng.normal(0, 0.7, (FRAMES, 2)).cumsum(0) * (rng.random() < 0.5)
    shake = np.clip(np.rint(walk - walk.mean(0)), -venue.shake, venue.shake).astype(int)
    return Camera(View((int(size[0]), int(size[1])), (WIDTH, HEIGHT), corners), margin, shake)


def render(
    venue: Venue, eye: Camera, things: Sequence[Thing], moved: Moved, rng: np.random.Generator
) -> np.ndarray:
    """Film one clip.

    Args:
        venue: Where.
        eye: The camera.
        things: What there is.
        moved: What became of it.
        rng: Draws the background, the light, the tones and the noise.

    Returns:
        [FRAMES, H, W, 3] uint8.
    """
    light = rng.uniform(*venue.light) * rng.uniform(0.93, 1.07, 3)
    empty = _background(venue, eye, things, light, rng)
    film = np.repeat(empty[None], FRAMES, 0)
    for number in np.argsort(-moved.places[-1, :, 1], kind="stable").tolist():
        thing, frames = things[number], np.flatnonzero(moved.seen[:, number])
        spots, angles = moved.places[frames, number], moved.angles[frames, number]
        layers = _layers(thing, venue, light, rng)
        stamp(film, eye.view, frames, spots, thing.radius, angles, layers)
    film = _shaken(film, eye)
    add_noise(film, rng)
    return film


def _background(
    venue: Venue, eye: Camera, things: Sequence[Thing], light: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The empty field, [H, W, 3] uint8."""
    metres, _ = ground(eye.view)
    floor = np.asarray(_floor(venue, things, rng), np.float64)
    pattern = PATTERNS[venue.patterns[int(rng.integers(len(venue.patterns)))]]
    strength = rng.uniform(4, 16)
    image = (floor + strength * pattern(metres, rng)) * light
    empty: np.ndarray = bounded(image).astype(np.uint8)
    return empty


def _floor(venue: Venue, things: Sequence[Thing], rng: np.random.Generator) -> Rgb:
    """The background's colour: one of the venue's, or a muted one that hides no thing."""
    if venue.floors:
        return venue.floors[int(rng.integers(len(venue.floors)))]
    colours = [np.asarray(dict(venue.colours)[thing.colour]) for thing in things]
    while True:
        drawn = rng.uniform(30, 200) + rng.uniform(-35, 35, 3)
        if all(np.abs(drawn - colour).sum() > _FAR for colour in colours):
            return tuple(np.clip(drawn, NOISE, 255 - NOISE).astype(int).tolist())


def _layers(thing: Thing, venue: Venue, light: np.ndarray, rng: np.random.Generator) -> list[Layer]:
    """A thing's shadow, its body, and the marks of its texture in black or white."""
    rgb = dict(venue.colours)[thing.colour]
    body = bounded((np.asarray(rgb) + rng.normal(0, venue.jitter, 3)) * light)
    shape, marked = SHAPES[thing.kind], marks(thing.kind, thing.texture)
    layers = [Layer(np.full(3, 8, np.float32), shape, alpha=0.35, shift=(0.12, -0.14)), Layer(body, shape)]
    if marked is not None:
        second = (20, 20, 24) if sum(rgb) > 300 else (236, 236, 236)
        layers.append(Layer(bounded(np.asarray(second) * light), marked))
    return layers


def _shaken(film: np.ndarray, eye: Camera) -> np.ndarray:
    """Cut the footage out of the larger picture, each frame where the camera looks by then."""
    if not eye.margin:
        return film
    width, height = eye.size.tolist()
    starts = eye.margin + eye.shake
    return np.stack(
        [frame[y : y + height, x : x + width] for frame, (x, y) in zip(film, starts.tolist(), strict=True)]
    )


def shares(eye: Camera, moved: Moved) -> np.ndarray:
    """Where the middle of each thing is in the picture, as shares of its width and height: [FRAMES, K, 2]."""
    pixels = project(homography(eye.view), moved.places) - eye.margin - eye.shake[:, None]
    place: np.ndarray = pixels / eye.size
    return place


def tracks(eye: Camera, things: Sequence[Thing], moved: Moved) -> np.ndarray:
    """Where the thing of each colour is in the picture.

    Returns:
        [FRAMES, len(COLOURS), 3] float16: whether its middle is in the picture (0 or 1), then x and y of that
        as shares of the picture's width and height (0 where it is not).
    """
    place = shares(eye, moved)
    inside = moved.seen & ((place > 0) & (place < 1)).all(-1)
    found = np.zeros((FRAMES, len(COLOURS), 3), np.float16)
    for number, thing in enumerate(things):
        slot = COLOURS.index(thing.colour)
        found[:, slot, 0] = inside[:, number]
        found[:, slot, 1:] = np.where(inside[:, number, None], place[:, number], 0.0)
    return found
