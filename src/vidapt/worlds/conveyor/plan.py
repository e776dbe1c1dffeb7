"""What is meant to happen in a clip: which parts ride on which belts, and which incidents wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidapt.worlds.conveyor.line import DEFECTS, END_S, KINDS, SIZES, SOUND, WIDTH

IncidentKind = Literal["stop", "gate", "fall", "push", "pick"]

INCIDENTS: tuple[IncidentKind, ...] = ("stop", "gate", "fall", "push", "pick")
_SHARES = (0.22, 0.3, 0.16, 0.18, 0.14)
_COUNTS = ((1, 0.2), (2, 0.45), (3, 0.35))
_SPEEDS = (0.3, 0.5, 0.8)
_FLAWED = 0.35
_APART = 0.05


@dataclass(frozen=True, slots=True)
class Belt:
    """A belt: `direction` is 1 to the right and -1 to the left, `speed` in m/s."""

    direction: int
    speed: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part and where it is when the clip begins.

    Attributes:
        colour: One of `line.COLOURS`.
        kind: One of `line.KINDS`.
        size: A key of `line.SIZES`.
        defect: One of `line.DEFECTS`, or `line.SOUND`.
        belt: Number of its belt, the one farthest away is 0.
        start: Metres it has gone since the edge of the picture where it comes in; negative before that.
        angle: How it is turned, in radians.
    """

    colour: str
    kind: str
    size: str
    defect: str
    belt: int
    start: float
    angle: float

    @property
    def name(self) -> str:
        """What it is called, such as `red disc`."""
        return f"{self.colour} {self.kind}"

    @property
    def radius(self) -> float:
        """Half of its length in metres."""
        return SIZES[self.size]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that waits to happen.

    Attributes:
        kind: `stop`: a belt stands still; `gate`: a gate closes; `fall`, `push`, `pick`: it befalls a part.
        belt: Whose belt, where it begins.
        part: Number of the part it befalls; -1 for those that befall a belt.
        place: Where along the belt, in metres gone: of the gate, or at which it befalls the part.
        begin_s: When the belt stops or the gate closes.
        end_s: When it runs or opens again; beyond the last frame if never.
    """

    kind: IncidentKind
    belt: int
    part: int = -1
    place: float = 0.0
    begin_s: float = 0.0
    end_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A clip before it runs; what happens is decided by `physics.run`."""

    belts: tuple[Belt, ...]
    parts: tuple[Part, ...]
    incidents: tuple[Incident, ...]


def draw(rng: np.random.Generator, palette: tuple[str, ...]) -> Plan:
    """Draw a plan.

    Args:
        rng: Draws everything.
        palette: Colours that parts have here.
    """
    counts, shares = zip(*_COUNTS, strict=True)
    count = int(rng.choice(counts, p=shares))
    speeds = rng.permutation(len(_SPEEDS))[:count]
    one_way = int(rng.choice((-1, 1)))
    belts = tuple(
        Belt(one_way if rng.random() < 0.6 else -one_way, round(_SPEEDS[k] * rng.uniform(0.93, 1.07), 3))
        for k in speeds.tolist()
    )
    parts = _parts(rng, belts, palette)
    return Plan(belts, parts, _incidents(rng, belts, parts))


def _parts(rng: np.random.Generator, belts: tuple[Belt, ...], palette: tuple[str, ...]) -> tuple[Part, ...]:
    """Parts in single file on each belt, at least one on each."""
    wanted = max(len(belts), int(rng.integers(2, 8)))
    homes = [*range(len(belts)), *rng.integers(len(belts), size=wanted - len(belts)).tolist()]
    colours = [palette[k] for k in rng.permutation(len(palette)).tolist()]
    sizes = list(SIZES)
    parts: list[Part] = []
    for number, belt in enumerate(belts):
        # Nothing has to reach the far edge; but all must have come in a second before the end.
        last = belt.speed * (END_S - 1.0) + 0.2
        front = rng.uniform(0.3, 1.6)
        for _ in range(homes.count(number)):
            size = sizes[int(rng.integers(2))]
            start = front - SIZES[size]
            front = start - SIZES[size] - _APART - rng.uniform(0.0, 0.35)
            if start < -last or not colours:
                break
            if (
                abs(start) < SIZES[size] + 0.03
            ):  # half in the picture already: nobody could say whether it came in
                start = -SIZES[size] - 0.04
                front = start - SIZES[size] - _APART - 0.05
            kind = KINDS[int(rng.integers(len(KINDS)))]
            flaw = DEFECTS[int(rng.integers(len(DEFECTS)))] if rng.random() < _FLAWED else SOUND
            angle = float(rng.uniform(-0.25, 0.25))
            parts.append(Part(colours.pop(), kind, size, flaw, number, round(start, 3), round(angle, 3)))
    return tuple(parts)


def _incidents(
    rng: np.random.Generator, belts: tuple[Belt, ...], parts: tuple[Part, ...]
) -> tuple[Incident, ...]:
    """Up to two incidents of different kinds, on different belts."""
    drawn: list[Incident] = []
    kinds = rng.choice(INCIDENTS, int(rng.choice(3, p=(0.12, 0.48, 0.4))), replace=False, p=_SHARES)
    for kind in kinds.tolist():
        found = _stop(rng, belts) if kind == "stop" else _on_part(rng, kind, belts, parts)
        if found is not None and all(found.belt != other.belt for other in drawn):
            drawn.append(found)
    return tuple(drawn)


def _stop(rng: np.random.Generator, belts: tuple[Belt, ...]) -> Incident:
    begin = float(rng.uniform(0.7, 1.9))
    return Incident("stop", int(rng.integers(len(belts))), -1, 0.0, round(begin, 2), _until(rng, begin))


def _until(rng: np.random.Generator, begin: float) -> float:
    """When what began ends: after about a second, or not within the clip."""
    return round(begin + float(rng.uniform(0.9, 1.4)), 2) if rng.random() < 0.5 else END_S + 1


def _on_part(
    rng: np.random.Generator, kind: IncidentKind, belts: tuple[Belt, ...], parts: tuple[Part, ...]
) -> Incident | None:
    """An incident at a place which some part comes by within the time."""
    rim = range(len(belts)) if kind == "gate" else (0, len(belts) - 1)
    if kind == "push" and len(belts) < 2:
        return None
    for number in rng.permutation(len(parts)).tolist():
        part, speed = parts[number], belts[parts[number].belt].speed
        reach = part.start + speed * (END_S - 1.6)
        low, high = max(part.start + 0.1, 0.35), min(reach, WIDTH - 0.45)
        if part.belt not in rim or low >= high:
            continue
        place = round(float(rng.uniform(low, high)), 3)
        if kind != "gate":
            return Incident(kind, part.belt, number, place)
        arrives = (place - part.start) / speed
        begin = round(arrives * float(rng.uniform(0.2, 0.8)), 2)
        return Incident(kind, part.belt, -1, place, begin, _until(rng, arrives))
    return None
