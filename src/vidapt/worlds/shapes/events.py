"""What happened in a clip, in words that do not depend on a venue's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from vidapt.worlds.shapes.field import SIDES
from vidapt.worlds.shapes.physics import LogKind, Moved
from vidapt.worlds.shapes.plan import Thing

ALONE = ("start", "stop", "appear", "vanish")
"""Events without an object."""
_OF_SIDES = ("bounce", "leave", "enter")


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        time_s: Seconds from the first frame.
        kind: `start`, `stop`: a thing begins or ceases to move; `touch`: it runs into another one; `bounce`:
            it comes back from an edge; `leave`, `enter`: it crosses one; `appear`, `vanish`.
        thing: The thing that does it.
        other: The other thing, one of `field.SIDES`, or empty.
    """

    time_s: float
    kind: LogKind
    thing: str
    other: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"t": self.time_s, "event": self.kind, "thing": self.thing, "other": self.other}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Event:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the kind of event is unknown.
        """
        if data["event"] not in get_args(LogKind):
            raise ValueError(f"no event is called {data['event']!r}")
        return cls(float(data["t"]), data["event"], data["thing"], data["other"])


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing of a clip.

    Attributes:
        colour: Its colour.
        kind: Its kind.
        texture: Its texture.
        size: Its size.
        way: `rest`, `roll`, `circle` or `turn`: how it moves when the clip begins.
        ends: Where its middle is in the last frame, x and y as shares of the picture from its top left; None
            where it is not in the picture.
    """

    colour: str
    kind: str
    texture: str
    size: str
    way: str
    ends: tuple[float, float] | None

    @property
    def name(self) -> str:
        """What it is called, such as `red star`."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True, slots=True)
class Record:
    """The whole truth about one clip.

    Attributes:
        index: Number of the clip within its data set.
        venue: Name of the venue.
        things: All that are ever in the picture.
        palette: Colours that things have at the venue.
        events: Everything that happened, in order of time.
    """

    index: int
    venue: str
    things: tuple[Seen, ...]
    palette: tuple[str, ...]
    events: tuple[Event, ...]

    def happened(self, *kinds: LogKind) -> list[Event]:
        """Events of some kinds, in order of time."""
        return [event for event in self.events if event.kind in kinds]

    @property
    def moved(self) -> list[str]:
        """Things that ever go from their place."""
        started = {event.thing for event in self.happened("start")}
        return [t.name for t in self.things if t.way in ("roll", "circle") or t.name in started]

    @property
    def first_mover(self) -> str | None:
        """The thing that moves first; empty if none moves, None where several move from the beginning."""
        moving = [thing.name for thing in self.things if thing.way in ("roll", "circle")]
        if moving:
            return moving[0] if len(moving) == 1 else None
        started = self.happened("start")
        return started[0].thing if started else ""

    @property
    def touches(self) -> set[frozenset[str]]:
        """Pairs of things that touch."""
        return {frozenset((event.thing, event.other)) for event in self.happened("touch")}

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {
            "id": f"{self.index:06d}",
            "venue": self.venue,
            "things": [[t.colour, t.kind, t.texture, t.size, t.way, t.ends] for t in self.things],
            "palette": list(self.palette),
            "events": [event.to_json() for event in self.events],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """Read what `to_json` wrote."""
        things = []
        for *words, ends in data["things"]:
            colour, kind, texture, size, way = map(str, words)
            place = None if ends is None else (float(ends[0]), float(ends[1]))
            things.append(Seen(colour, kind, texture, size, way, place))
        events = tuple(Event.from_json(event) for event in data["events"])
        return cls(int(data["id"]), data["venue"], tuple(things), tuple(data["palette"]), events)


def record_of(
    index: int, venue: str, palette: tuple[str, ...], things: Sequence[Thing], moved: Moved, ends: np.ndarray
) -> Record:
    """Write down in words what became of some things; `ends` [K, 2] is where they are in the last picture."""
    names = [thing.name for thing in things]
    events = []
    for entry in moved.log:
        other = "" if entry.kind in ALONE else (SIDES if entry.kind in _OF_SIDES else names)[entry.second]
        events.append(Event(entry.time_s, entry.kind, names[entry.first], other))
    ways = {
        "circle": "circle",
        "turn": "turn",
        "roll": "roll",
        "stop": "roll",
        "leave": "roll",
        "enter": "roll",
    }
    seen = []
    for number, (thing, (x, y)) in enumerate(zip(things, ends.tolist(), strict=True)):
        there = bool(moved.seen[-1, number]) and 0 < x < 1 and 0 < y < 1
        place = (round(x, 3), round(y, 3)) if there else None
        way = ways.get(thing.motion, "rest")
        seen.append(Seen(thing.colour, thing.kind, thing.texture, thing.size, way, place))
    return Record(index, venue, tuple(seen), palette, tuple(events))
