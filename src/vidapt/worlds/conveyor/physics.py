"""How the parts ride: a time stepper of single files, with gates, stops, an arm, and parts that collide.

Along its belt a part has one number, `gone`: metres since the edge of the picture where the belt comes in. It
goes on with the belt unless a gate or the part ahead holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidapt.worlds.conveyor.line import BELT_WIDTH, END_S, FPS, FRAMES, HEIGHT, WIDTH, belt_centres
from vidapt.worlds.conveyor.plan import Incident, Plan

STEP_S = 0.02
FALL_S, REACH_S, PUSH_S, LIFT_S, BACK_S = 0.5, 0.3, 0.5, 0.6, 0.4
_STEPS_PER_FRAME = round(1 / FPS / STEP_S)
_LEAD = 0.08
"""How far a part must be behind and then ahead of another one, in metres, to have overtaken it."""
_ROOM = 0.1
_NEVER = 1e9

LogKind = Literal["enter", "leave", "stop", "start", "hold", "touch", "fall", "push", "pick", "overtake"]
State = Literal["rides", "taken", "falls", "gone"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, in numbers: `first` is a part or a belt, `second` a part, a belt or -1."""

    time_s: float
    kind: LogKind
    first: int
    second: int = -1


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a plan of P parts on B belts.

    Attributes:
        places: [FRAMES, P, 2] float64, metres.
        angles: [FRAMES, P] radians.
        seen: [FRAMES, P] bool, whether any of the part is in the picture.
        moved: [FRAMES, B] metres that each belt has run, signed to the right.
        gates: [FRAMES, B] the x of a closed gate; NaN where none is closed.
        arm: [FRAMES, 2] the tip of the arm; NaN while it rests.
        log: In order of time.
    """

    places: np.ndarray
    angles: np.ndarray
    seen: np.ndarray
    moved: np.ndarray
    gates: np.ndarray
    arm: np.ndarray
    log: tuple[Entry, ...]


class _Line:
    """The state while it runs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.time = 0.0
        self.centres = belt_centres(len(plan.belts))
        self.belt = [part.belt for part in plan.parts]
        self.gone = [part.start for part in plan.parts]
        self.y = [self.centres[part.belt] for part in plan.parts]
        self.angle = [part.angle for part in plan.parts]
        self.state: list[State] = ["rides" for _ in plan.parts]
        self.begun = [0.0 for _ in plan.parts]
        self.moved = [0.0 for _ in plan.belts]
        self.runs = [True for _ in plan.belts]
        self.closed: list[float | None] = [None for _ in plan.belts]
        self.touching: set[tuple[int, int]] = set()
        self.held: set[int] = set()
        self.behind: set[tuple[int, int]] = set()
        self.arm: tuple[float, float] | None = None
        self.waiting = {one.part: one for one in plan.incidents if one.part >= 0}
        self.log: list[Entry] = []

    def note(self, kind: LogKind, first: int, second: int = -1) -> None:
        self.log.append(Entry(round(self.time, 3), kind, first, second))

    def x(self, part: int) -> float:
        """Where a part is across the picture."""
        gone = self.gone[part]
        return gone if self.plan.belts[self.belt[part]].direction > 0 else WIDTH - gone

    def file(self, belt: int) -> list[int]:
        """Parts that ride on a belt or are held above it, the foremost first."""
        there = [
            k for k, state in enumerate(self.state) if self.belt[k] == belt and state in ("rides", "taken")
        ]
        return sorted(there, key=lambda part: -self.gone[part])

    def step(self) -> None:
        """Go on by STEP_S."""
        self.time += STEP_S
        for one in self.plan.incidents:
            if one.kind == "stop":
                self._switch(one)
            elif one.kind == "gate":
                self._gate(one)
        for belt in range(len(self.plan.belts)):
            self._ride(belt)
        for part, state in enumerate(self.state):
            if state == "rides" and part in self.waiting:
                self._meet(part, self.waiting[part])
            elif state == "falls":
                self._fall(part)
            elif state == "taken":
                self._handle(part, self.waiting[part])
        self._compare()

    def _switch(self, one: Incident) -> None:
        runs = not one.begin_s <= self.time < one.end_s
        if runs != self.runs[one.belt]:
            self.runs[one.belt] = runs
            self.note("start" if runs else "stop", one.belt)

    def _gate(self, one: Incident) -> None:
        """Close once nothing lies below, and open again."""
        closed = self.closed[one.belt]
        if closed is None and one.begin_s <= self.time < one.end_s:
            parts = self.plan.parts
            below = (abs(self.gone[k] - one.place) <= parts[k].radius + 0.03 for k in self.file(one.belt))
            if not any(below):
                self.closed[one.belt] = one.place
        elif closed is not None and self.time >= one.end_s:
            self.closed[one.belt] = None

    def _ride(self, belt: int) -> None:
        speed = self.plan.belts[belt].speed if self.runs[belt] else 0.0
        self.moved[belt] += speed * STEP_S * self.plan.belts[belt].direction
        ahead: int | None = None
        for part in self.file(belt):
            if self.state[part] == "rides":
                self._advance(part, speed * STEP_S, ahead)
            ahead = part

    def _advance(self, part: int, way: float, ahead: int | None) -> None:
        """Move a part along, up to the gate and the part ahead."""
        radius, before = self.plan.parts[part].radius, self.gone[part]
        limit, gate = before + way, self.closed[self.belt[part]]
        if gate is not None and before < gate and limit > gate - radius:
            limit = max(before, gate - radius)
            if part not in self.held and self._in_picture(part):
                self.held.add(part)
                self.note("hold", part, self.belt[part])
        if ahead is not None:
            nearest = self.gone[ahead] - self.plan.parts[ahead].radius - radius
            if limit > nearest:
                limit = max(before, nearest)
                if (part, ahead) not in self.touching and self._in_picture(part):
                    self.touching.add((part, ahead))
                    self.note("touch", part, ahead)
        self.gone[part] = limit
        for edge, kind in ((0.0, "enter"), (WIDTH, "leave")):
            if before < edge <= limit:
                self.note("enter" if kind == "enter" else "leave", part, self.belt[part])

    def _in_picture(self, part: int) -> bool:
        return 0 < self.gone[part] < WIDTH

    def _meet(self, part: int, one: Incident) -> None:
        """Begin what waits for a part at a place."""
        if self.gone[part] < one.place or not self.runs[self.belt[part]]:
            return
        if one.kind == "push" and not self._has_room(part):
            return
        self.begun[part] = self.time
        if one.kind == "fall":
            self.state[part] = "falls"
            self.note("fall", part, self.belt[part])
        else:
            self.state[part] = "taken"

    def _target(self, part: int) -> int:
        """The belt a part is pushed onto: the next one inwards."""
        return 1 if self.plan.parts[part].belt == 0 else self.plan.parts[part].belt - 1

    def _has_room(self, part: int) -> bool:
        """Whether a part that is pushed now meets none on the other belt."""
        target, x = self._target(part), self.x(part)
        belt = self.plan.belts[target]
        near = 2 * max(p.radius for p in self.plan.parts) + _ROOM
        late = belt.speed * (REACH_S + PUSH_S)
        for other in self.file(target):
            lead = (self.x(other) - x) * belt.direction
            if -near - late < lead < near:
                return False
        gate = self.closed[target]
        where = x if belt.direction > 0 else WIDTH - x
        return gate is None or abs(gate - where) > near

    def _fall(self, part: int) -> None:
        """Slide off the outer edge of the belt, turning, and lie on the floor."""
        share = min(1.0, (self.time - self.begun[part]) / FALL_S)
        home = self.plan.parts[part].belt
        outwards = 1 if home == 0 else -1
        reach = BELT_WIDTH / 2 + self.plan.parts[part].radius
        self.y[part] = self.centres[home] + outwards * reach * share
        self.angle[part] = self.plan.parts[part].angle + 1.1 * share

    def _handle(self, part: int, one: Incident) -> None:
        """Reach for a part, push it over or lift it out, and draw the arm back."""
        since, home = self.time - self.begun[part], self.centres[one.belt]
        outwards = 1 if one.belt == 0 else -1
        rest = (HEIGHT if outwards > 0 else 0.0) + outwards * 0.02
        radius, x = self.plan.parts[part].radius, self.x(part)
        if since < REACH_S:
            tip = rest + (home + outwards * radius - rest) * since / REACH_S
        elif one.kind == "push":
            share = min(1.0, (since - REACH_S) / PUSH_S)
            self.y[part] = home + (self.centres[self._target(part)] - home) * share
            tip = self.y[part] + outwards * radius
            if share == 1.0:
                self._land(part, x)
        else:
            share = (since - REACH_S) / LIFT_S
            tip = home + (rest + outwards * 2 * radius - home) * share
            self.y[part] = tip
            if since - STEP_S < REACH_S:
                self.note("pick", part, one.belt)
            if share >= 1.0:
                self.state[part] = "gone"
        self.arm = (x, tip)

    def _land(self, part: int, x: float) -> None:
        target = self._target(part)
        self.belt[part] = target
        self.gone[part] = x if self.plan.belts[target].direction > 0 else WIDTH - x
        self.state[part] = "rides"
        del self.waiting[part]
        self.note("push", part, target)

    def draw_back(self) -> None:
        """Let an arm that holds nothing go back to the edge."""
        if self.arm is None or "taken" in self.state:
            return
        x, tip = self.arm
        outwards = 1 if tip > HEIGHT / 2 else -1
        tip += outwards * HEIGHT / 2 * STEP_S / BACK_S
        self.arm = None if not 0 < tip < HEIGHT else (x, tip)

    def _compare(self) -> None:
        """Note who overtakes whom: parts on different belts that run the same way."""
        riding = [k for k, state in enumerate(self.state) if state == "rides" and self._in_picture(k)]
        belts = self.plan.belts
        for a in riding:
            for b in riding:
                apart = self.belt[a] != self.belt[b]
                if not apart or belts[self.belt[a]].direction != belts[self.belt[b]].direction:
                    continue
                lead = self.gone[a] - self.gone[b]
                if lead < -_LEAD:
                    self.behind.add((a, b))
                elif lead > _LEAD and (a, b) in self.behind:
                    self.behind.discard((a, b))
                    self.note("overtake", a, b)


def run(plan: Plan) -> Ran:
    """Run a plan for as long as a clip lasts."""
    line = _Line(plan)
    count, belts = len(plan.parts), len(plan.belts)
    places, angles = np.empty((FRAMES, count, 2)), np.empty((FRAMES, count))
    seen = np.empty((FRAMES, count), bool)
    moved, gates, arm = np.empty((FRAMES, belts)), np.empty((FRAMES, belts)), np.full((FRAMES, 2), np.nan)
    radii = np.array([part.radius for part in plan.parts])
    for frame in range(FRAMES):
        x = np.array([line.x(part) for part in range(count)])
        y = np.array(line.y)
        places[frame, :, 0], places[frame, :, 1], angles[frame] = x, y, line.angle
        inside = (x > -radii) & (x < WIDTH + radii) & (y > -radii) & (y < HEIGHT + radii)
        seen[frame] = inside & (np.array(line.state) != "gone")
        moved[frame] = line.moved
        gates[frame] = [_gate_x(plan, belt, gone) for belt, gone in enumerate(line.closed)]
        arm[frame] = (np.nan, np.nan) if line.arm is None else line.arm
        for _ in range(_STEPS_PER_FRAME if frame < FRAMES - 1 else 0):
            line.step()
            line.draw_back()
    return Ran(places, angles, seen, moved, gates, arm, tuple(e for e in line.log if e.time_s <= END_S))


def _gate_x(plan: Plan, belt: int, gone: float | None) -> float:
    if gone is None:
        return float("nan")
    return gone if plan.belts[belt].direction > 0 else WIDTH - gone
