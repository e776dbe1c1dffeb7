"""What things look like: a shape for each kind, and the marks of each texture."""

from __future__ import annotations

import numpy as np

from vidapt.worlds.paint import (
    Shape,
    box,
    disc,
    either,
    half_plane,
    polygon,
    ring,
    stripe,
    within,
    without,
)


def _lens(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(disc(x, y * 1.8) / 1.4)


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((np.abs(x) + np.abs(y)) * np.sqrt(0.5) - 0.72)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A star of five points: the radius swings between 0.42 and 1.1 with the direction."""
    turn = np.arctan2(x, y) * 5 / (2 * np.pi)
    edge = 1.1 - 0.68 * 2 * np.abs(turn - np.round(turn))
    return np.asarray((np.sqrt(x * x + y * y) - edge) * 0.8)


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(disc(x, y), 0.75 - np.sqrt((x - 0.5) ** 2 + y * y)))


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lobes = [np.sqrt((x - side) ** 2 + (y - 0.35) ** 2) - 0.55 for side in (-0.45, 0.45)]
    tip = np.maximum.reduce([(np.abs(x) - y) * np.sqrt(0.5) - 0.68, y - 0.35])
    return np.asarray(np.minimum.reduce([*lobes, tip]))


_SHAFT = within(box(1.0, 0.3), half_plane(np.pi, -0.15))
_HEAD = within(half_plane(0.0, -0.15), lambda x, y: (np.abs(y) + x - 1.05) * np.sqrt(0.5))

SHAPES: dict[str, Shape] = {
    "disc": disc,
    "square": box(0.84, 0.84),
    "triangle": polygon(3, 1.15),
    "ring": ring,
    "cross": either(box(1.0, 0.33), box(0.33, 1.0)),
    "bar": box(1.1, 0.38),
    "diamond": _diamond,
    "star": _star,
    "lens": _lens,
    "half": within(disc, half_plane(np.pi / 2, -0.1)),
    "corner": without(box(0.9, 0.9), within(half_plane(0.0, -0.2), half_plane(np.pi / 2, -0.2))),
    "moon": _moon,
    "heart": _heart,
    "dart": either(_SHAFT, _HEAD),
}


def _spots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    off = [np.abs((z + 0.3) % 0.6 - 0.3) for z in (x, y)]
    return np.asarray(np.sqrt(off[0] ** 2 + off[1] ** 2) - 0.17)


def _stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    del y
    return np.asarray(np.abs((x + 0.35) % 0.7 - 0.35) - 0.16)


def marks(kind: str, texture: str) -> Shape | None:
    """The part of a thing that has its second colour; None for a plain one."""
    body = SHAPES[kind]
    if texture == "rimmed":
        return within(body, lambda x, y: -0.3 - body(x, y))
    textures: dict[str, Shape] = {
        "striped": _stripes,
        "spotted": _spots,
        "halved": stripe(np.pi / 2, 1.0, -1.0),
    }
    return within(body, textures[texture]) if texture in textures else None
