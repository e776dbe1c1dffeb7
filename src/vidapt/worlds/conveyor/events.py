"""What happened in a clip, in words that do not depend on a venue's style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from vidapt.worlds.conveyor.line import SOUND, belt_names
from vidapt.worlds.conveyor.physics import LogKind, Ran
from vidapt.worlds.conveyor.plan import Plan

OF_BELTS = ("stop", "start")
"""Events whose subject is a belt; all others are about a part."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        time_s: Seconds from the first frame.
        kind: `enter`, `leave`: a part comes into or goes out of the picture on a belt; `stop`, `start`: a
            belt stands still or runs again; `hold`: a gate holds a part; `touch`: a part runs into another;
            `fall`: it falls off its belt; `push`: the arm has pushed it onto another belt; `pick`: the arm
            takes it off its belt; `overtake`: it overtakes a part on another belt.
        subject: The part or the belt.
        other: The other part, or the belt on which it is (of `push`: onto which it comes); empty where the
            subject is a belt.
    """

    time_s: float
    kind: LogKind
    subject: str
    other: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"t": self.time_s, "event": self.kind, "subject": self.subject, "other": self.other}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Event:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the kind of event is unknown.
        """
        if data["event"] not in get_args(LogKind):
            raise ValueError(f"no event is called {data['event']!r}")
        return cls(float(data["t"]), data["event"], data["subject"], data["other"])


@dataclass(frozen=True, slots=True)
class Seen:
    """A part of a clip: what it looks like and on which belt it is first."""

    colour: str
    kind: str
    size: str
    defect: str
    belt: str

    @property
    def name(self) -> str:
        """What it is called, such as `red disc`."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True, slots=True)
class Running:
    """A belt: its name, `left` or `right`, and its speed in m/s while it runs."""

    name: str
    towards: str
    speed: float


@dataclass(frozen=True, slots=True)
class Record:
    """The whole truth about one clip.

    Attributes:
        index: Number of the clip within its data set.
        venue: Name of the venue.
        belts: The one farthest away first.
        parts: All parts that are ever in the picture.
        palette: Colours that parts have at the venue.
        events: Everything that happened, in order of time.
    """

    index: int
    venue: str
    belts: tuple[Running, ...]
    parts: tuple[Seen, ...]
    palette: tuple[str, ...]
    events: tuple[Event, ...]

    def part(self, name: str) -> Seen | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)

    def happened(self, *kinds: LogKind) -> list[Event]:
        """Events of some kinds, in order of time."""
        return [event for event in self.events if event.kind in kinds]

    @property
    def flawed(self) -> list[Seen]:
        """Parts with a defect."""
        return [part for part in self.parts if part.defect != SOUND]

    @property
    def fastest(self) -> Running:
        """The fastest belt."""
        return max(self.belts, key=lambda belt: belt.speed)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {
            "id": f"{self.index:06d}",
            "venue": self.venue,
            "belts": [[belt.name, belt.towards, belt.speed] for belt in self.belts],
            "parts": [[part.colour, part.kind, part.size, part.defect, part.belt] for part in self.parts],
            "palette": list(self.palette),
            "events": [event.to_json() for event in self.events],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """Read what `to_json` wrote."""
        return cls(
            index=int(data["id"]),
            venue=data["venue"],
            belts=tuple(Running(name, towards, float(speed)) for name, towards, speed in data["belts"]),
            parts=tuple(Seen(*(str(word) for word in part)) for part in data["parts"]),
            palette=tuple(data["palette"]),
            events=tuple(Event.from_json(event) for event in data["events"]),
        )


def record_of(index: int, venue: str, palette: tuple[str, ...], plan: Plan, ran: Ran) -> Record:
    """Write down in words what a plan came to."""
    names = belt_names(len(plan.belts))
    parts = [part.name for part in plan.parts]
    events = []
    for entry in ran.log:
        if entry.kind in OF_BELTS:
            events.append(Event(entry.time_s, entry.kind, names[entry.first]))
        else:
            others = parts if entry.kind in ("touch", "overtake") else names
            events.append(Event(entry.time_s, entry.kind, parts[entry.first], others[entry.second]))
    belts = tuple(
        Running(name, "right" if belt.direction > 0 else "left", belt.speed)
        for name, belt in zip(names, plan.belts, strict=True)
    )
    seen = tuple(Seen(p.colour, p.kind, p.size, p.defect, names[p.belt]) for p in plan.parts)
    return Record(index, venue, belts, seen, palette, tuple(events))
