"""One clip from a seed and a number: planned, run, filmed and written about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.conveyor.events import Record, record_of
from vidapt.worlds.conveyor.line import END_S, FPS, WIDTH
from vidapt.worlds.conveyor.physics import Ran, run
from vidapt.worlds.conveyor.plan import Plan, draw
from vidapt.worlds.conveyor.questions import ask
from vidapt.worlds.conveyor.render import render, tracks
from vidapt.worlds.conveyor.styles import STYLES
from vidapt.worlds.conveyor.times import ask_when
from vidapt.worlds.conveyor.venues import Venue, find_venue

# Each purpose draws from a generator of its own, so that a change of one does not change the others.
_FILM, _WORDS = 2, 3


@dataclass(frozen=True, slots=True)
class Played:
    """A clip that ran but was not yet filmed.

    Attributes:
        seed: The data set's seed.
        venue: Where.
        plan: What was meant to happen.
        ran: What became of it.
        record: The same in words.
        statements: Ask about at most so many pairs of a true and a false statement.
        when: Ask when something happened, too.
    """

    seed: int
    venue: Venue
    plan: Plan
    ran: Ran
    record: Record
    statements: int = 1
    when: bool = False

    @property
    def index(self) -> int:
        """Number of the clip within its data set."""
        return self.record.index

    def film(self) -> np.ndarray:
        """Render the clip: [FRAMES, H, W, 3] uint8."""
        return render(self.venue, self.plan, self.ran, np.random.default_rng([self.seed, self.index, _FILM]))

    def tracks(self) -> np.ndarray:
        """Where the parts are in the picture: see `render.tracks`."""
        return tracks(self.venue, self.plan, self.ran)

    def asked(self) -> list[QA]:
        """Everything asked about the clip, in the venue's style; see `questions.ask` and `times.ask_when`."""
        rng, style = np.random.default_rng([self.seed, self.index, _WORDS]), STYLES[self.venue.style]
        asked = ask(self.record, style, rng, self.statements)
        return asked + ask_when(self.record, style, rng) if self.when else asked

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return self.record.to_json()


def play(
    seed: int, indices: Sequence[int], venue: Venue, statements: int = 1, *, when: bool = False
) -> list[Played]:
    """Plan and run some clips; each depends on (seed, index, venue) alone."""
    played = []
    for index in indices:
        plan, ran = _clear(np.random.default_rng([seed, index]), venue)
        record = record_of(index, venue.name, venue.palette, plan, ran)
        played.append(Played(seed, venue, plan, ran, record, statements, when))
    return played


def _clear(rng: np.random.Generator, venue: Venue) -> tuple[Plan, Ran]:
    """The first plan drawn of which a person can tell what happened."""
    while True:
        plan = draw(rng, venue.palette)
        ran = run(plan)
        if is_clear(plan, ran):
            return plan, ran


def is_clear(plan: Plan, ran: Ran) -> bool:
    """Whether a person can tell what happened: each part is long in view, and nothing is half done."""
    if (ran.seen.sum(0) < FPS).any():
        return False
    edge = np.abs(ran.places[-1, :, 0] - WIDTH / 2) - WIDTH / 2
    half_out = (np.abs(edge) < np.array([part.radius for part in plan.parts]) * 0.8) & ran.seen[-1]
    late = any(entry.time_s > END_S - 0.4 and entry.kind not in ("enter", "leave") for entry in ran.log)
    taken = any(one.kind in ("push", "pick") for one in plan.incidents) and not np.isnan(ran.arm[-1]).any()
    return not (half_out.any() or late or taken)


def sample_clip(seed: int, index: int, venue: str = "works") -> tuple[np.ndarray, Record]:
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
