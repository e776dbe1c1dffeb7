"""One clip from a seed and a number: played, filmed and written about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.billiards.events import Record, name_contacts
from vidapt.worlds.billiards.physics import Shot, roll
from vidapt.worlds.billiards.questions import ask
from vidapt.worlds.billiards.render import player_place, render, tracks
from vidapt.worlds.billiards.shots import plan
from vidapt.worlds.billiards.styles import STYLES
from vidapt.worlds.billiards.times import ask_when
from vidapt.worlds.billiards.venues import Venue, find_venue

# Each purpose draws from a generator of its own, so that a change of one does not change the others.
_PLAYER, _FILM, _WORDS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Played:
    """A shot that was played but not yet filmed.

    Attributes:
        seed: The data set's seed.
        shot: The table before the strike.
        path: [FRAMES, SLOTS, 2] float32, metres.
        seen: [FRAMES, SLOTS] bool.
        record: What happened.
    """

    seed: int
    shot: Shot
    path: np.ndarray
    seen: np.ndarray
    record: Record

    def film(self, venue: Venue) -> np.ndarray:
        """Render the clip: [FRAMES, H, W, 3] uint8."""
        rng = np.random.default_rng([self.seed, self.record.index, _FILM])
        shirt = dict(venue.shirts)[self.record.shirt]
        return render(venue, self.path, self.seen, self.shot.strike, shirt, rng)

    def tracks(self, venue: Venue) -> np.ndarray:
        """Where the balls are in the picture: see `render.tracks`."""
        return tracks(venue, self.path, self.seen)

    def player(self, venue: Venue) -> np.ndarray:
        """Where the player stands in the picture: see `render.player_place`."""
        return player_place(venue, self.path, self.shot.strike)

    def questions(self, venue: Venue, statements: int = 1, *, when: bool = False) -> list[QA]:
        """Everything asked about the clip, in the venue's style; see `questions.ask` and `times.ask_when`."""
        rng = np.random.default_rng([self.seed, self.record.index, _WORDS])
        asked = ask(self.record, STYLES[venue.style], rng, statements)
        return asked + ask_when(self.record, STYLES[venue.style], rng) if when else asked


def play(seed: int, indices: Sequence[int], venue: Venue) -> list[Played]:
    """Plan and play the shots of some clips; each depends on (seed, index, venue) alone."""
    shots = [plan(np.random.default_rng([seed, index])) for index in indices]
    rolled = roll(shots)
    names = ("white", *venue.ball_set)
    played = []
    for place, (index, shot) in enumerate(zip(indices, shots, strict=True)):
        rng = np.random.default_rng([seed, index, _PLAYER])
        record = Record(
            index=index,
            venue=venue.name,
            kind=shot.kind,
            balls=tuple(name for name, there in zip(names[1:], shot.on_table[1:], strict=True) if there),
            ball_set=venue.ball_set,
            shirt=venue.shirts[int(rng.integers(len(venue.shirts)))][0],
            events=name_contacts(rolled.contacts[place], names),
        )
        played.append(Played(seed, shot, rolled.paths[place], rolled.seen[place], record))
    return played


def sample_clip(seed: int, index: int, venue: str = "home") -> tuple[np.ndarray, Record]:
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
    place = find_venue(venue)
    (played,) = play(seed, [index], place)
    return played.film(place), played.record
