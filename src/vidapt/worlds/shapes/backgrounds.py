"""What lies behind the things: patterns of light and dark, as functions of place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vidapt.worlds.paint import clouds

Pattern = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From metres [H, W, 2] to brightness beside the background's own, [H, W, 1] in about -1..1."""


def _flat(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    slope = rng.uniform(-0.5, 0.5, 2)
    return np.asarray(metres @ slope)[..., None]


def _clouds(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = metres.shape[:2]
    return 1.3 * clouds(height, width, rng, int(rng.integers(3, 9)))


def _boards(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boards of their own tones with dark joints."""
    axis, wide = int(rng.integers(2)), rng.uniform(0.12, 0.3)
    place = metres[..., axis] / wide + rng.uniform()
    tones = rng.uniform(-0.5, 0.5, 64)[np.floor(place).astype(int) % 64]
    return np.asarray(np.where(place % 1 < 0.05, -1.0, tones))[..., None]


def _tiles(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A chequered floor."""
    wide = rng.uniform(0.15, 0.35)
    odd = np.floor(metres / wide + rng.uniform(size=2)).astype(int).sum(-1) % 2
    return np.asarray(rng.uniform(0.3, 0.6) * (odd * 2.0 - 1))[..., None]


def _waves(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn, length = rng.uniform(0, np.pi), rng.uniform(0.15, 0.5)
    along = metres[..., 0] * np.cos(turn) + metres[..., 1] * np.sin(turn)
    return np.asarray(0.6 * np.sin(2 * np.pi * along / length))[..., None]


def _ripples(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rings around two points, as on water."""
    spots = rng.uniform((0.0, 0.0), (1.78, 1.0), (2, 2))
    rings = [np.sin(np.hypot(*(metres - spot).transpose(2, 0, 1)) * rng.uniform(30, 50)) for spot in spots]
    return np.asarray(0.5 * sum(rings))[..., None]


PATTERNS: dict[str, Pattern] = {
    "flat": _flat,
    "clouds": _clouds,
    "boards": _boards,
    "tiles": _tiles,
    "waves": _waves,
    "ripples": _ripples,
}
