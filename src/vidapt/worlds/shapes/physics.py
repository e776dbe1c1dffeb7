"""How things move: discs of equal mass that roll, rebound from the edges of the field and from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidapt.worlds.shapes.field import END_S, FPS, FRAMES, HEIGHT, WIDTH
from vidapt.worlds.shapes.plan import Thing

STEP_S = 0.02
_STEPS_PER_FRAME = round(1 / FPS / STEP_S)
_RESTITUTION = 0.85
_SLOWEST = 0.06
"""Slower things (m/s) count as standing: nobody would see them move."""
_PAUSE_S = 0.3
"""The same two things touching again within this time is one event."""

LogKind = Literal["start", "stop", "touch", "bounce", "leave", "enter", "appear", "vanish"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: `first` is a thing, `second` a thing, a side (`field.SIDES`) or -1."""

    time_s: float
    kind: LogKind
    first: int
    second: int = -1


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of K things.

    Attributes:
        places: [FRAMES, K, 2] float64, metres.
        angles: [FRAMES, K] radians.
        seen: [FRAMES, K] bool, whether the thing is there, in the picture or not.
        log: In order of time.
    """

    places: np.ndarray
    angles: np.ndarray
    seen: np.ndarray
    log: tuple[Entry, ...]


class _Field:
    """The state while things move."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self.things, self.time = things, 0.0
        self.place = np.array([thing.place for thing in things], np.float64)
        self.speed = np.array([_first_speed(thing) for thing in things], np.float64)
        self.angle = np.array([thing.angle for thing in things], np.float64)
        self.radius = np.array([thing.radius for thing in things])
        self.there = np.array([thing.motion != "appear" for thing in things])
        self.free = [thing.motion in ("leave", "enter") for thing in things]
        """Whether a thing may cross the edges; it no longer may once it was hit or has come in."""
        self.last: dict[tuple[int, int], float] = {}
        self.log: list[Entry] = []
        self.going = self.moving()

    def moving(self) -> list[bool]:
        circles = [thing.motion == "circle" for thing in self.things]
        fast = np.hypot(*self.speed.T) > _SLOWEST
        return [bool(f) or c for f, c in zip(fast, circles, strict=True)]

    def note(self, kind: LogKind, first: int, second: int = -1) -> None:
        self.log.append(Entry(round(self.time, 3), kind, first, second))

    def step(self) -> None:
        before, self.time = self.time, self.time + STEP_S
        for k, thing in enumerate(self.things):
            if before < thing.time_s <= self.time:
                self._due(k, thing)
            if thing.motion == "turn":
                self.angle[k] += thing.rate * STEP_S
            elif thing.motion == "circle":
                self._circle(k, thing)
        self.place += self.speed * STEP_S * self.there[:, None]
        for k in range(len(self.things)):
            self._edges(k)
        for a in range(len(self.things)):
            for b in range(a + 1, len(self.things)):
                self._meet(a, b)
        self._tell_motion()

    def _due(self, k: int, thing: Thing) -> None:
        """What happens to a thing at its time."""
        if thing.motion == "appear" or thing.motion == "vanish":
            self.there[k] = thing.motion == "appear"
            self.note(thing.motion, k)
        elif thing.motion == "stop":
            self.speed[k] = 0
        elif thing.motion == "late" and not self.going[k]:
            self.speed[k] = thing.speed

    def _circle(self, k: int, thing: Thing) -> None:
        turn = thing.rate * self.time
        x, y = thing.speed
        arm = np.array([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)])
        self.place[k] = np.array(thing.place) + arm - thing.speed

    def _edges(self, k: int) -> None:
        for axis, size in enumerate((WIDTH, HEIGHT)):
            low, high = self.radius[k], size - self.radius[k]
            at, speed = self.place[k, axis], self.speed[k, axis]
            out = (at < low and speed < 0) or (at > high and speed > 0)
            if self.free[k] and axis == 0:
                self._cross(k, at, speed)
            elif out:
                self.speed[k, axis] = -speed * 0.95
                self._tell_bounce(k, 2 * axis + int(speed > 0))

    def _tell_bounce(self, k: int, side: int) -> None:
        key = (k, -1 - side)
        if self.time - self.last.get(key, -1.0) > _PAUSE_S:
            self.note("bounce", k, side)
        self.last[key] = self.time

    def _cross(self, k: int, at: float, speed: float) -> None:
        """Tell when the middle of a thing crosses the left or the right edge."""
        before = at - speed * STEP_S
        side = int(speed > 0) if self.things[k].motion == "leave" else int(speed < 0)
        edge = WIDTH * side
        if (before - edge) * (at - edge) <= 0 and before != at:
            self.note("leave" if self.things[k].motion == "leave" else "enter", k, side)
        inside = self.radius[k] < at < WIDTH - self.radius[k]
        if self.things[k].motion == "enter" and inside:
            self.free[k] = False

    def _meet(self, a: int, b: int) -> None:
        if not (self.there[a] and self.there[b]):
            return
        apart = self.place[b] - self.place[a]
        gap = float(np.hypot(*apart))
        if gap >= self.radius[a] + self.radius[b] or gap < 1e-9:
            return
        normal = apart / gap
        closing = -float((self.speed[b] - self.speed[a]) @ normal)
        circling = "circle" in (self.things[a].motion, self.things[b].motion)
        if closing > 0 or circling:
            self._bump(a, b, normal, closing, circling=circling)
        overlap = self.radius[a] + self.radius[b] - gap
        self.place[a] -= normal * overlap / 2
        self.place[b] += normal * overlap / 2

    def _bump(self, a: int, b: int, normal: np.ndarray, closing: float, *, circling: bool) -> None:
        if self.time - self.last.get((a, b), -1.0) > _PAUSE_S:
            fast = np.hypot(*self.speed[a]) >= np.hypot(*self.speed[b])
            self.note("touch", *((a, b) if fast else (b, a)))
        self.last[a, b] = self.time
        if circling:
            # What circles is held on its way: the other one rebounds alone.
            other, out = (b, normal) if self.things[a].motion == "circle" else (a, -normal)
            self.speed[other] = out * max(0.3, abs(closing))
        else:
            push = (1 + _RESTITUTION) / 2 * closing
            self.speed[a] -= push * normal
            self.speed[b] += push * normal
        self.free[a] = self.free[b] = False

    def _tell_motion(self) -> None:
        now = self.moving()
        for k, (was, goes) in enumerate(zip(self.going, now, strict=True)):
            if was != goes and self.there[k]:
                if not goes:
                    self.speed[k] = 0
                self.note("start" if goes else "stop", k)
        self.going = now


def _first_speed(thing: Thing) -> tuple[float, float]:
    return thing.speed if thing.motion in ("roll", "stop", "leave", "enter") else (0.0, 0.0)


def move(things: Sequence[Thing]) -> Moved:
    """Let things move for as long as a clip lasts."""
    field, count = _Field(things), len(things)
    places, angles = np.empty((FRAMES, count, 2)), np.empty((FRAMES, count))
    seen = np.empty((FRAMES, count), bool)
    for frame in range(FRAMES):
        places[frame], angles[frame] = field.place, field.angle
        seen[frame] = field.there
        for _ in range(_STEPS_PER_FRAME if frame < FRAMES - 1 else 0):
            field.step()
    return Moved(places, angles, seen, tuple(e for e in field.log if e.time_s <= END_S))
