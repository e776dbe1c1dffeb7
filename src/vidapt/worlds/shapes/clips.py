"""One clip from a seed and a number: planned, moved, filmed and written about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.shapes.events import Record, record_of
from vidapt.worlds.shapes.field import END_S
from vidapt.worlds.shapes.physics import Moved, move
from vidapt.worlds.shapes.plan import Thing, draw
from vidapt.worlds.shapes.questions import ask
from vidapt.worlds.shapes.render import Camera, camera, render, shares, tracks
from vidapt.worlds.shapes.styles import STYLES
from vidapt.worlds.shapes.venues import Venue, find_venue

# Each purpose draws from a generator of its own, so that a change of one does not change the others.
_FILM, _WORDS = 2, 3

_LEAST_FRAMES = 7
_EDGE = 0.03
_LAST_S = END_S - 0.3


@dataclass(frozen=True, slots=True)
class Played:
    """A clip in which things moved but that was not yet filmed.

    Attributes:
        seed: The data set's seed.
        venue: Where.
        eye: The camera.
        things: What there is.
        moved: What became of it.
        record: The same in words.
        statements: Ask about at most so many pairs of a true and a false statement.
    """

    seed: int
    venue: Venue
    eye: Camera
    things: tuple[Thing, ...]
    moved: Moved
    record: Record
    statements: int = 1

    @property
    def index(self) -> int:
        """Number of the clip within its data set."""
        return self.record.index

    def film(self) -> np.ndarray:
        """Render the clip: [FRAMES, H, W, 3] uint8."""
        rng = np.random.default_rng([self.seed, self.index, _FILM])
        return render(self.venue, self.eye, self.things, self.moved, rng)

    def tracks(self) -> np.ndarray:
        """Where the things are in the picture: see `render.tracks`."""
        return tracks(self.eye, self.things, self.moved)

    def asked(self) -> list[QA]:
        """Everything asked about the clip, in the venue's style; see `questions.ask`."""
        rng = np.random.default_rng([self.seed, self.index, _WORDS])
        return ask(self.record, STYLES[self.venue.style], rng, self.statements)

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return self.record.to_json()


def play(seed: int, indices: Sequence[int], venue: Venue, statements: int = 1) -> list[Played]:
    """Plan and move some clips; each depends on (seed, index, venue) alone."""
    played = []
    for index in indices:
        eye, things, moved = _clear(np.random.default_rng([seed, index]), venue)
        record = record_of(index, venue.name, venue.palette, things, moved, shares(eye, moved)[-1])
        played.append(Played(seed, venue, eye, things, moved, record, statements))
    return played


def _clear(rng: np.random.Generator, venue: Venue) -> tuple[Camera, tuple[Thing, ...], Moved]:
    """The first plan drawn of which a person can tell what happened."""
    while True:
        things = draw(rng, venue.palette, venue.kinds, venue.textures)
        moved, eye = move(things), camera(venue, rng)
        if is_clear(eye, moved):
            return eye, things, moved


def is_clear(eye: Camera, moved: Moved) -> bool:
    """Whether each thing is long in the picture, nothing is half out at the end, or happens just then."""
    place = shares(eye, moved)
    inside = moved.seen & ((place > 0) & (place < 1)).all(-1)
    out = np.abs(place[-1] - 0.5).max(-1) - 0.5
    half_out = (np.abs(out) < _EDGE) & moved.seen[-1]
    crossed = {entry.first: entry.kind == "leave" for entry in moved.log if entry.kind in ("leave", "enter")}
    gone = all(bool(inside[-1, number]) != left for number, left in crossed.items())
    late = any(entry.time_s > _LAST_S for entry in moved.log)
    return bool((inside.sum(0) >= _LEAST_FRAMES).all()) and gone and not late and not half_out.any()


def sample_clip(seed: int, index: int, venue: str = "mix") -> tuple[np.ndarray, Record]:
    """Make one clip without writing anything.

    Args:
        seed: The data set's seed.
        index: Number of the clip within it.
        venue: Name of the venue.

    Returns:
        [FRAMES, H, W, 3] uint8 and the truth; the same pixels that `simulate` encodes.

    Raises:
        ConfigError: If there is no such venue.
    """
    (played,) = play(seed, [index], find_venue(venue))
    return played.film(), played.record
