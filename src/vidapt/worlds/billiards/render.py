"""Footage of a shot: a background painted once per clip, and balls, player and cue stamped on it.

All colours stay within 8..247 and the sensor noise within +-8, so noise is one wrapping uint8 addition
that can never wrap around.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from vidapt.worlds.billiards.cameras import homography
from vidapt.worlds.billiards.table import (
    BALL_RADIUS,
    FPS,
    FRAMES,
    HEIGHT,
    POCKET_CENTRES,
    SLOTS,
    STRIKE_S,
    WIDTH,
)
from vidapt.worlds.billiards.venues import Rgb, Venue
from vidapt.worlds.cameras import project, scale_at

_RAIL_M = 0.075
_HOLE_M = 0.062
_HEAD_M = 0.045
_STICK_M = 0.75
_NOISE = 8
_SKIN: Rgb = (202, 160, 130)
_WOOD: Rgb = (222, 188, 124)


@dataclass(frozen=True, slots=True)
class _Scene:
    """A venue's picture without colours; all maps are [H, W, 1] float32."""

    cloth: np.ndarray
    rail: np.ndarray
    holes: np.ndarray
    across: np.ndarray
    along: np.ndarray


@dataclass(frozen=True, slots=True)
class _Disc:
    """One disc of a stamp; place and size in radii of the stamp."""

    colour: np.ndarray
    alpha: float = 1.0
    size: float = 1.0
    dx: float = 0.0
    dy: float = 0.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What varies in colour from clip to clip."""

    light: np.ndarray
    rng: np.random.Generator
    jitter: float

    def colour(self, rgb: Rgb, jitter: float | None = None) -> np.ndarray:
        """A colour under this clip's light, [3] float32."""
        drawn = np.asarray(rgb) + self.rng.normal(0, self.jitter if jitter is None else jitter, 3)
        lit: np.ndarray = np.clip(drawn * self.light, _NOISE, 255 - _NOISE).astype(np.float32)
        return lit


@cache
def _scene(venue: Venue) -> _Scene:
    width, height = venue.size
    matrix = homography(venue)
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns + 0.5, rows + 0.5], -1)
    metres = project(np.linalg.inv(matrix), pixels)
    scale = scale_at(matrix, metres)
    beyond = np.maximum(
        np.abs(metres[..., 0] - WIDTH / 2) - WIDTH / 2, np.abs(metres[..., 1] - HEIGHT / 2) - HEIGHT / 2
    )
    to_hole = np.min([np.hypot(*(metres - centre).transpose(2, 0, 1)) for centre in POCKET_CENTRES], axis=0)

    def soft(distance: np.ndarray) -> np.ndarray:
        """Cover of a pixel by the shape whose edge lies at distance 0 (in metres)."""
        cover: np.ndarray = np.clip(0.5 - distance * scale, 0, 1)[..., None].astype(np.float32)
        return cover

    return _Scene(
        cloth=soft(beyond),
        rail=soft(beyond - _RAIL_M),
        holes=soft(to_hole - _HOLE_M),
        across=(metres[..., :1] / WIDTH - 0.5).astype(np.float32),
        along=(metres[..., 1:] / HEIGHT - 0.5).astype(np.float32),
    )


@cache
def _noise(height: int, width: int) -> np.ndarray:
    """A tile of sensor noise, larger than a frame so that each frame takes another part of it."""
    grain = np.random.default_rng(0).normal(0, 1.5, (height + 32, width + 32, 3))
    tile: np.ndarray = np.clip(np.rint(grain), -_NOISE, _NOISE).astype(np.int8).view(np.uint8)
    return tile


def _background(venue: Venue, look: _Look) -> np.ndarray:
    """The empty table, [H, W, 3] uint8."""
    scene, rng = _scene(venue), look.rng
    image = look.colour(venue.floor, 2 * look.jitter) * np.ones_like(scene.cloth)
    cloth = look.colour(venue.cloths[int(rng.integers(len(venue.cloths)))])
    for cover, colour in ((scene.rail, look.colour(venue.rail)), (scene.cloth, cloth)):
        image += cover * (colour - image)
    slope = rng.uniform(-0.16, 0.16, 2).astype(np.float32)
    image *= 1 + slope[0] * scene.across + slope[1] * scene.along
    image += scene.holes * (10.0 - image)
    empty: np.ndarray = np.clip(image, _NOISE, 255 - _NOISE).astype(np.uint8)
    return empty


def _stamp(
    film: np.ndarray, frames: np.ndarray, centres: np.ndarray, radii: np.ndarray, discs: tuple[_Disc, ...]
) -> None:
    """Paint discs with soft edges over a film, in place.

    Args:
        film: [T, H, W, 3] uint8.
        frames: [K] the frames to paint in.
        centres: [K, 2] pixels.
        radii: [K] pixels.
        discs: Painted in this order.
    """
    if not len(frames):
        return
    spread = max(disc.size + max(abs(disc.dx), abs(disc.dy)) for disc in discs)
    half = int(np.ceil(radii.max() * spread + 1))
    offsets = np.arange(-half, half + 1)
    columns = np.clip(np.floor(centres[:, :1]).astype(int) + offsets, 0, film.shape[2] - 1)
    rows = np.clip(np.floor(centres[:, 1:]).astype(int) + offsets, 0, film.shape[1] - 1)
    at = (frames[:, None, None], rows[:, :, None], columns[:, None, :])
    patch = film[at].astype(np.float32)
    across = (columns + 0.5 - centres[:, :1]).astype(np.float32)
    down = (rows + 0.5 - centres[:, 1:]).astype(np.float32)
    size = radii.astype(np.float32)[:, None]
    for disc in discs:
        dx, dy = across - disc.dx * size, down - disc.dy * size
        distance = np.sqrt((dx * dx)[:, None, :] + (dy * dy)[:, :, None])
        cover = np.clip((disc.size * size + 0.5)[:, :, None] - distance, 0, 1) * disc.alpha
        patch += cover[..., None] * (disc.colour - patch)
    film[at] = patch.astype(np.uint8)


def _stand(venue: Venue, start: np.ndarray, strike: np.ndarray) -> np.ndarray:
    """Where the player stands: at the edge the stroke comes from, in metres."""
    back = -strike / max(float(np.hypot(*strike)), 1e-9)
    lengths = [
        ((size if step > 0 else 0.0) - at) / step
        for at, step, size in zip(start, back, (WIDTH, HEIGHT), strict=True)
        if abs(step) > 1e-6
    ]
    left = np.array([back[1], -back[0]])
    place: np.ndarray = start + back * min(lengths) + left * venue.stance
    gap = venue.lean
    low, high = np.array([gap, gap]), np.array([WIDTH - gap, HEIGHT - gap])
    place = np.clip(place, low, high)
    # Along the edge the place is kept; across it the player stands exactly `lean` inside (or outside).
    edge = int(np.argmin([place[0], WIDTH - place[0], place[1], HEIGHT - place[1]]))
    place[edge // 2] = (low if edge % 2 == 0 else high)[edge // 2]
    return place


def _paint_player(film: np.ndarray, venue: Venue, place: np.ndarray, shirt: Rgb, look: _Look) -> None:
    matrix = homography(venue)
    sway = look.rng.normal(0, 0.008, (FRAMES, 2)).cumsum(0)
    spots = place + np.clip(sway, -0.03, 0.03)
    radii = scale_at(matrix, spots) * venue.shoulders
    head = _HEAD_M / venue.shoulders
    discs = (_Disc(look.colour(shirt)), _Disc(look.colour(_SKIN), size=head))
    _stamp(film, np.arange(FRAMES), project(matrix, spots), radii, discs)


def _paint_balls(film: np.ndarray, venue: Venue, path: np.ndarray, seen: np.ndarray, look: _Look) -> None:
    matrix = homography(venue)
    black, white = np.full(3, 8, np.float32), np.full(3, 250, np.float32) * look.light.astype(np.float32)
    gleam = np.clip(white, _NOISE, 255 - _NOISE)
    for slot, rgb in enumerate([venue.white, *(colour for _, colour in venue.balls)]):
        frames = np.flatnonzero(seen[:, slot])
        spots = path[frames, slot]
        discs = (
            _Disc(black, alpha=0.4, size=1.04, dx=0.18, dy=0.24),
            _Disc(look.colour(rgb, 3.0)),
            _Disc(gleam, alpha=0.5, size=0.26, dx=-0.3, dy=-0.3),
        )
        _stamp(film, frames, project(matrix, spots), scale_at(matrix, spots) * BALL_RADIUS, discs)


def _paint_stick(film: np.ndarray, venue: Venue, start: np.ndarray, strike: np.ndarray, look: _Look) -> None:
    """The cue, drawn back before the strike and still there just after it."""
    matrix, colour = homography(venue), look.colour(_WOOD)
    back = -strike / max(float(np.hypot(*strike)), 1e-9)
    for frame in range(round((STRIKE_S + 0.1) * FPS) + 1):
        drawn = 0.02 + 0.13 * max(0.0, STRIKE_S - frame / FPS) / STRIKE_S
        tip = start + back * (BALL_RADIUS + drawn)
        steps = np.linspace(0, _STICK_M, 3 * film.shape[2] // 4)[:, None]
        pixels = project(matrix, tip + back * steps)
        for shift in (-0.4, 0.4):
            columns, rows = np.floor(pixels + shift).astype(int).T
            inside = (columns >= 0) & (columns < film.shape[2]) & (rows >= 0) & (rows < film.shape[1])
            film[frame, rows[inside], columns[inside]] = colour


def render(
    venue: Venue, path: np.ndarray, seen: np.ndarray, strike: np.ndarray, shirt: Rgb, rng: np.random.Generator
) -> np.ndarray:
    """Film one shot.

    Args:
        venue: Where.
        path: [FRAMES, SLOTS, 2], metres.
        seen: [FRAMES, SLOTS] bool.
        strike: [2] velocity given to the white ball, for the player's place and the cue.
        shirt: Colour of the player's shirt.
        rng: Draws the light, the tones and the noise.

    Returns:
        [FRAMES, H, W, 3] uint8.
    """
    tint = np.asarray(venue.tint) * rng.uniform(*venue.light)
    look = _Look(tint, rng, venue.jitter)
    film = np.repeat(_background(venue, look)[None], FRAMES, 0)
    start = path[0, 0].astype(np.float64)
    place = _stand(venue, start, strike)
    # A player who bends over the table hides what lies below.
    over = venue.lean > 0
    if not over:
        _paint_player(film, venue, place, shirt, look)
    _paint_balls(film, venue, path, seen, look)
    if over:
        _paint_player(film, venue, place, shirt, look)
    _paint_stick(film, venue, start, strike, look)
    noise = _noise(film.shape[1], film.shape[2])
    for frame, (dy, dx) in zip(film, rng.integers(0, 33, (FRAMES, 2)), strict=True):
        frame += noise[dy : dy + film.shape[1], dx : dx + film.shape[2]]
    return film


def tracks(venue: Venue, path: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Where each ball is in the picture.

    Returns:
        [FRAMES, SLOTS, 3] float16: on the table (0 or 1), then x and y as shares of the picture's width
        and height (0 where the ball is not on the table). A ball hidden by the player still counts.
    """
    spots = np.where(seen[..., None], path, 0.5)
    shares = project(homography(venue), spots) / np.asarray(venue.size)
    found = np.empty((FRAMES, SLOTS, 3), np.float16)
    found[..., 0] = seen
    found[..., 1:] = np.where(seen[..., None], shares, 0.0)
    return found


def player_place(venue: Venue, path: np.ndarray, strike: np.ndarray) -> np.ndarray:
    """Where the player stands in the picture, without the sway.

    Returns:
        [2] float16: x and y as shares of the picture's width and height.
    """
    spot = _stand(venue, path[0, 0].astype(np.float64), strike)
    share: np.ndarray = (project(homography(venue), spot) / np.asarray(venue.size)).astype(np.float16)
    return share
