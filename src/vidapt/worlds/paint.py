"""Shapes with soft edges, painted on a film as a camera sees them lie on a plane.

A shape is a function of x and y in radii, with y upwards: the distance to its edge, negative inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from vidapt.worlds.cameras import View, homography, project, scale_at

Rgb = tuple[int, int, int]
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]

NOISE = 8
"""Largest sensor noise in 8-bit steps; colours stay so far from 0 and 255 that it cannot wrap around."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One shape of a stamp.

    Attributes:
        colour: [3] float32.
        shape: What is covered.
        alpha: How much of what lies below is covered.
        shift: Moves it by so many radii across and upwards, whichever way the stamp is turned.
    """

    colour: np.ndarray
    shape: Shape
    alpha: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A disc of radius 1."""
    return np.asarray(np.sqrt(x * x + y * y) - 1.0)


def box(width: float, height: float) -> Shape:
    """A rectangle; its sides are twice as long as what is given."""

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(np.abs(x) - width, np.abs(y) - height))

    return shape


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A ring with a hole of a little under half its width."""
    return np.asarray(np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.28)


def polygon(corners: int, radius: float = 1.0) -> Shape:
    """A regular polygon that stands on a side."""
    turns = 2 * np.pi * (np.arange(corners) + 0.5) / corners - np.pi / 2 - np.pi / corners
    inner = radius * np.cos(np.pi / corners)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        sides = [x * np.cos(turn) + y * np.sin(turn) for turn in turns]
        return np.asarray(np.maximum.reduce(sides) - inner)

    return shape


def either(*shapes: Shape) -> Shape:
    """What is in any of some shapes."""
    return lambda x, y: np.minimum.reduce([shape(x, y) for shape in shapes])


def within(shape: Shape, mark: Shape) -> Shape:
    """The part of a mark that lies in a shape."""
    return lambda x, y: np.maximum(shape(x, y), mark(x, y))


def without(shape: Shape, hole: Shape) -> Shape:
    """A shape from which another one is cut out."""
    return lambda x, y: np.maximum(shape(x, y), -hole(x, y))


def half_plane(turn: float, start: float = 0.0) -> Shape:
    """All that lies further than `start` in the direction `turn` (radians)."""
    across, up = float(np.cos(turn)), float(np.sin(turn))
    return lambda x, y: start - (x * across + y * up)


def stripe(turn: float, width: float, middle: float = 0.0) -> Shape:
    """A line across everything, at right angles to the direction `turn`, twice as wide as `width`."""
    across, up = float(np.cos(turn)), float(np.sin(turn))
    return lambda x, y: np.abs(x * across + y * up - middle) - width


def stamp(
    film: np.ndarray,
    view: View,
    frames: np.ndarray,
    spots: np.ndarray,
    radius: float,
    angles: np.ndarray,
    layers: Sequence[Layer],
) -> None:
    """Paint shapes over a film, in place.

    Args:
        film: [T, H, W, 3] uint8.
        view: The camera.
        frames: [K] the frames to paint in.
        spots: [K, 2] metres.
        radius: Metres.
        angles: [K] radians, against the clock.
        layers: Painted in this order.
    """
    if not len(frames):
        return
    matrix = homography(view)
    centres, scales = project(matrix, spots), scale_at(matrix, spots)
    half = int(np.ceil(scales.max() * radius * 1.5 + 1))
    offsets = np.arange(-half, half + 1)
    columns = np.clip(np.floor(centres[:, :1]).astype(int) + offsets, 0, film.shape[2] - 1)
    rows = np.clip(np.floor(centres[:, 1:]).astype(int) + offsets, 0, film.shape[1] - 1)
    at = (frames[:, None, None], rows[:, :, None], columns[:, None, :])
    shape = np.broadcast_shapes(at[1].shape, at[2].shape)
    pixels = np.stack([np.broadcast_to(at[2], shape), np.broadcast_to(at[1], shape)], -1) + 0.5
    local = ((project(_back(view), pixels) - spots[:, None, None]) / radius).astype(np.float32)
    patch = film[at].astype(np.float32)
    edge = (scales * radius).astype(np.float32)[:, None, None]
    cos, sin = (f(angles).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    for layer in layers:
        dx, dy = local[..., 0] - layer.shift[0], local[..., 1] - layer.shift[1]
        distance = layer.shape(dx * cos + dy * sin, dy * cos - dx * sin) * edge
        cover = np.clip(0.5 - distance, 0, 1) * layer.alpha
        patch += cover[..., None] * (layer.colour - patch)
    film[at] = patch.astype(np.uint8)


@cache
def _back(view: View) -> np.ndarray:
    return np.linalg.inv(homography(view))


@cache
def ground(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return where on the plane each pixel lies, [H, W, 2] metres, and pixels per metre there, [H, W]."""
    width, height = view.size
    rows, columns = np.mgrid[0:height, 0:width]
    metres = project(_back(view), np.stack([columns + 0.5, rows + 0.5], -1))
    return metres, scale_at(homography(view), metres)


@cache
def _grain(height: int, width: int) -> np.ndarray:
    """A tile of sensor noise, larger than a frame so that each frame takes another part of it."""
    grain = np.random.default_rng(0).normal(0, 1.5, (height + 32, width + 32, 3))
    tile: np.ndarray = np.clip(np.rint(grain), -NOISE, NOISE).astype(np.int8).view(np.uint8)
    return tile


def add_noise(film: np.ndarray, rng: np.random.Generator) -> None:
    """Add sensor noise to [T, H, W, 3] uint8 whose colours are `bounded`, in place."""
    noise = _grain(film.shape[1], film.shape[2])
    for frame, (dy, dx) in zip(film, rng.integers(0, 33, (len(film), 2)), strict=True):
        frame += noise[dy : dy + film.shape[1], dx : dx + film.shape[2]]


def bounded(colours: np.ndarray) -> np.ndarray:
    """Clip colours so that noise can be added."""
    clipped: np.ndarray = np.clip(colours, NOISE, 255 - NOISE).astype(np.float32)
    return clipped


def clouds(height: int, width: int, rng: np.random.Generator, cells: int = 6) -> np.ndarray:
    """Smooth patches of light and dark, [H, W, 1] in about -1..1, from a coarse grid of random numbers."""
    coarse = rng.normal(0, 0.5, (cells + 1, cells + 1))
    y, x = np.linspace(0, cells - 1e-6, height), np.linspace(0, cells - 1e-6, width)
    j, i = y.astype(int), x.astype(int)
    v, u = (y - j)[:, None], (x - i)[None]
    top = coarse[j][:, i] * (1 - u) + coarse[j][:, i + 1] * u
    bottom = coarse[j + 1][:, i] * (1 - u) + coarse[j + 1][:, i + 1] * u
    field: np.ndarray = (top * (1 - v) + bottom * v)[..., None].astype(np.float32)
    return field
