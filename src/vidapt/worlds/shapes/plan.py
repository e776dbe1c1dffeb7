"""What is meant to happen in a clip: which things there are, and how each of them moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vidapt.worlds.shapes.field import HEIGHT, SIZES, THIN, TURNING, WIDTH

Motion = Literal["rest", "roll", "stop", "late", "circle", "turn", "appear", "vanish", "leave", "enter"]
MOTIONS: tuple[Motion, ...] = (
    "rest",
    "roll",
    "stop",
    "late",
    "circle",
    "turn",
    "appear",
    "vanish",
    "leave",
    "enter",
)
_SHARES = (0.19, 0.17, 0.1, 0.08, 0.06, 0.08, 0.06, 0.06, 0.12, 0.08)
_MARGIN = 0.04
_BEYOND = 0.4
"""How far outside the field, in metres, whatever enters or leaves is out of every picture."""
_STARTS_S = (0.4, 1.1, 1.8)
"""When things begin to move that do so one after the other."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing as the clip begins.

    Attributes:
        colour: One of `field.COLOURS`.
        kind: One of `field.KINDS`.
        texture: One of `field.TEXTURES`.
        size: A key of `field.SIZES`.
        motion: How it moves unless something runs into it: `rest`; `roll`: on and off the edges; `stop`:
            until `time_s`; `late`: from then on; `circle`; `turn`: on the spot; `appear`, `vanish`: at that
            time; `leave`, `enter`: straight across an edge.
        place: Metres.
        speed: Velocity in m/s; of `circle`, from its middle to the thing in metres.
        angle: How it is turned, in radians.
        time_s: See `motion`.
        rate: Of `turn` and `circle`, in radians a second.
    """

    colour: str
    kind: str
    texture: str
    size: str
    motion: Motion
    place: tuple[float, float]
    speed: tuple[float, float]
    angle: float
    time_s: float = 0.0
    rate: float = 0.0

    @property
    def name(self) -> str:
        """What it is called, such as `red star`."""
        return f"{self.colour} {self.kind}"

    @property
    def radius(self) -> float:
        """Metres."""
        return SIZES[self.size]


def draw(
    rng: np.random.Generator, colours: Sequence[str], kinds: Sequence[str], textures: Sequence[str]
) -> tuple[Thing, ...]:
    """Draw the things of a clip.

    Args:
        rng: Draws everything.
        colours: Those that things may have here.
        kinds: Likewise.
        textures: Likewise.
    """
    one_by_one = rng.random() < 0.4
    names = [colours[k] for k in rng.permutation(len(colours)).tolist()]
    things: list[Thing] = []
    for number in range(int(rng.integers(2, 7))):
        thing = _thing(rng, names[number], kinds, textures, one_by_one)
        place = _free(rng, thing, things)
        if place is not None:
            things.append(replace(thing, place=place))
    things = [_started(rng, thing) for thing in things]
    if one_by_one:
        things = _in_turn(rng, things)
    return tuple(_aimed(rng, things))


def _thing(
    rng: np.random.Generator, colour: str, kinds: Sequence[str], textures: Sequence[str], one_by_one: bool
) -> Thing:
    kind = kinds[int(rng.integers(len(kinds)))]
    size = list(SIZES)[int(rng.integers(len(SIZES)))]
    texture = textures[int(rng.integers(len(textures)))] if rng.random() < 0.6 else "plain"
    if size == "small" or (texture == "rimmed" and kind in THIN):
        texture = "plain"  # a texture needs pixels
    motion = MOTIONS[int(rng.choice(len(MOTIONS), p=_SHARES))]
    if one_by_one:
        motion = "late" if rng.random() < 0.6 else "rest"
    if motion == "turn" and kind not in TURNING:
        motion = "rest"
    return Thing(
        colour, kind, texture, size, motion, (0.0, 0.0), (0.0, 0.0), round(rng.uniform(-0.2, 0.2), 3)
    )


def _free(rng: np.random.Generator, thing: Thing, others: Sequence[Thing]) -> tuple[float, float] | None:
    """A place that touches no other thing, None if none is found."""
    edge = thing.radius + _MARGIN + (0.12 if thing.motion == "circle" else 0)
    for _ in range(30):
        x, y = rng.uniform(edge, WIDTH - edge), rng.uniform(edge, HEIGHT - edge)
        gaps = [
            np.hypot(x - o.place[0], y - o.place[1])
            - thing.radius
            - o.radius
            - (0.2 if "circle" in (o.motion, thing.motion) else 0)
            for o in others
        ]
        if all(gap > _MARGIN for gap in gaps):
            return round(float(x), 3), round(float(y), 3)
    return None


def _started(rng: np.random.Generator, thing: Thing) -> Thing:
    """Give a thing its speed and time."""
    turn, way = float(rng.uniform(0, 2 * np.pi)), float(rng.choice((-1, 1)))
    if thing.motion == "circle":
        arm = (round(0.12 * np.cos(turn), 3), round(0.12 * np.sin(turn), 3))
        return replace(thing, speed=arm, rate=round(way * float(rng.uniform(2.0, 3.5)), 3))
    if thing.motion == "turn":
        return replace(thing, rate=round(way * float(rng.uniform(1.2, 2.5)), 3))
    if thing.motion in ("rest", "appear", "vanish"):
        return replace(thing, time_s=round(float(rng.uniform(0.8, 2.6)), 2))
    speed = float(rng.uniform(0.3, 0.8))
    velocity = (round(speed * np.cos(turn), 3), round(speed * np.sin(turn), 3))
    if thing.motion in ("leave", "enter"):
        return _across(rng, thing, way * max(speed, 0.5))
    return replace(thing, speed=velocity, time_s=round(float(rng.uniform(1.0, 2.2)), 2))


def _across(rng: np.random.Generator, thing: Thing, speed: float) -> Thing:
    """A thing that leaves, or comes in, across the left or the right edge."""
    sideways = round(float(rng.uniform(-0.08, 0.08)), 3)
    if thing.motion == "leave":
        way = thing.place[0] if speed < 0 else WIDTH - thing.place[0]
        return replace(
            thing, speed=(round(np.sign(speed) * max(abs(speed), (way + _BEYOND) / 2.8), 3), sideways)
        )
    outside = -_BEYOND if speed > 0 else WIDTH + _BEYOND
    return replace(thing, place=(round(outside, 3), thing.place[1]), speed=(round(speed * 0.7, 3), sideways))


def _in_turn(rng: np.random.Generator, things: list[Thing]) -> list[Thing]:
    """Let things that begin to move late do so clearly one after the other."""
    times = iter(_STARTS_S)
    moved = []
    for number in rng.permutation(len(things)).tolist():
        thing = things[number]
        if thing.motion == "late":
            begin = next(times, None)
            thing = (
                replace(thing, motion="rest", speed=(0.0, 0.0))
                if begin is None
                else replace(thing, time_s=begin)
            )
        moved.append(thing)
    return moved


def _aimed(rng: np.random.Generator, things: list[Thing]) -> list[Thing]:
    """Let about half of what moves head for another thing, so that things often touch."""
    aimed = []
    for thing in things:
        targets = [
            other for other in things if other is not thing and other.motion in ("rest", "stop", "turn")
        ]
        if thing.motion in ("roll", "late", "stop") and targets and rng.random() < 0.55:
            other = targets[int(rng.integers(len(targets)))]
            dx, dy = other.place[0] - thing.place[0], other.place[1] - thing.place[1]
            scale = np.hypot(*thing.speed) / max(np.hypot(dx, dy), 1e-6)
            thing = replace(thing, speed=(round(dx * scale, 3), round(dy * scale, 3)))
        aimed.append(thing)
    return aimed
