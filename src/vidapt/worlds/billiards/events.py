"""What happened in a clip, in words that do not depend on a venue's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vidapt.worlds.billiards.physics import Contact
from vidapt.worlds.billiards.table import POCKETS, SIDES

WHITE = "white"

EventKind = Literal["hit", "cushion", "pocket"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        time_s: Seconds from the first frame, in whole milliseconds.
        kind: `hit`: `ball` hits another ball; `cushion`: it touches one; `pocket`: it falls into one.
        ball: Colour of the ball that does it.
        other: The other ball's colour, or a name from `table.SIDES` or `table.POCKETS`.
    """

    time_s: float
    kind: EventKind
    ball: str
    other: str

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"t": self.time_s, "event": self.kind, "ball": self.ball, "other": self.other}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Event:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the kind of event is unknown.
        """
        if data["event"] not in get_args(EventKind):
            raise ValueError(f"no event is called {data['event']!r}")
        return cls(float(data["t"]), data["event"], data["ball"], data["other"])


@dataclass(frozen=True, slots=True)
class Record:
    """The whole truth about one clip.

    Attributes:
        index: Number of the clip within its data set.
        venue: Name of the venue.
        kind: What the shot was planned as (`shots.MIX`); not always what it became.
        balls: Coloured balls on the table at the start, in the order of the venue's ball set.
        ball_set: All coloured balls the venue has.
        shirt: Colour of the player's shirt.
        events: Everything that happened, in order of time.
    """

    index: int
    venue: str
    kind: str
    balls: tuple[str, ...]
    ball_set: tuple[str, ...]
    shirt: str
    events: tuple[Event, ...]

    @property
    def broken(self) -> bool:
        """Whether the triangle of balls was broken."""
        return self.kind == "break" and self.first_hit is not None

    @property
    def first_hit(self) -> str | None:
        """The first ball the white ball hit, None if it hit none."""
        return next((e.other for e in self.events if e.kind == "hit" and e.ball == WHITE), None)

    @property
    def pocketed(self) -> dict[str, str]:
        """Coloured balls that were pocketed, in order of time, and the pocket of each."""
        return {e.ball: e.other for e in self.events if e.kind == "pocket" and e.ball != WHITE}

    @property
    def scratched(self) -> bool:
        """Whether the white ball fell into a pocket."""
        return any(e.kind == "pocket" and e.ball == WHITE for e in self.events)

    @property
    def cushion_first(self) -> bool:
        """Whether the white ball touched a cushion before it hit a ball (or without ever hitting one)."""
        first = next((e.kind for e in self.events if e.ball == WHITE and e.kind != "pocket"), None)
        return first == "cushion"

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {
            "id": f"{self.index:06d}",
            "venue": self.venue,
            "kind": self.kind,
            "balls": list(self.balls),
            "ball_set": list(self.ball_set),
            "shirt": self.shirt,
            "events": [event.to_json() for event in self.events],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """Read what `to_json` wrote."""
        return cls(
            index=int(data["id"]),
            venue=data["venue"],
            kind=data["kind"],
            balls=tuple(data["balls"]),
            ball_set=tuple(data["ball_set"]),
            shirt=data["shirt"],
            events=tuple(Event.from_json(event) for event in data["events"]),
        )


def name_contacts(contacts: Sequence[Contact], balls: Sequence[str]) -> tuple[Event, ...]:
    """Turn a log in slots into one in words; `balls` names the slots, the white ball first."""
    others: dict[str, Sequence[str]] = {"hit": balls, "cushion": SIDES, "pocket": POCKETS}
    return tuple(Event(round(c.time_s, 3), c.kind, balls[c.slot], others[c.kind][c.other]) for c in contacts)
