"""Which shots are played: each kind is aimed with plane geometry, then left to the physics.

Points and directions are complex numbers (x + iy, metres), so turning by an angle is a product.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vidapt.worlds.billiards.physics import BALL_RESTITUTION, CUSHION_RESTITUTION, Shot
from vidapt.worlds.billiards.table import (
    BALL_RADIUS,
    HEIGHT,
    MOUTH,
    POCKET_CENTRES,
    POCKET_RADII,
    SLOTS,
    WIDTH,
)

MIX = {
    "break": 0.15,
    "pot": 0.16,
    "combination": 0.11,
    "double": 0.09,
    "kick": 0.19,
    "bank": 0.06,
    "miss": 0.07,
    "scratch": 0.13,
    "no_hit": 0.04,
}
"""Share of each kind of shot. `kick`: the white ball comes off a cushion; `bank`: the object ball does;
`double`: the white ball pots a second ball after the first."""

COUNTS = {2: 0.2, 3: 0.19, 4: 0.19, 5: 0.19, 6: 0.06, 7: 0.17}
"""Coloured balls on the table outside breaks. Six is rare there because every break has six."""

_TRIES = 3000
_DIAMETER = 2 * BALL_RADIUS
_TARGETS = tuple(
    complex(np.clip(x, 0.02, WIDTH - 0.02), np.clip(y, 0.02, HEIGHT - 0.02)) for x, y in POCKET_CENTRES
)

_POCKET_SHARES = (0.13, 0.24, 0.13, 0.13, 0.24, 0.13)
"""Middle pockets are tried more often, because fewer lines lead into them."""

Lane = tuple[complex, complex]


@dataclass(frozen=True, slots=True)
class _Layout:
    """An aimed shot: the balls it needs, and the lanes that other balls should stay out of."""

    cue: complex
    aim: complex
    speed: float
    balls: list[complex] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)


def plan(rng: np.random.Generator) -> Shot:
    """Draw one shot; the same generator state gives the same shot."""
    kind = str(rng.choice(list(MIX), p=list(MIX.values())))
    for _ in range(_TRIES):
        layout = _PLANNERS[kind](rng)
        if layout is not None and _sound(layout):
            break
    else:  # pragma: no cover - no kind needs anything near this many tries
        raise RuntimeError(f"no layout found for a {kind} shot")
    balls = list(layout.balls)
    if kind != "break":
        wanted = int(rng.choice(list(COUNTS), p=list(COUNTS.values())))
        balls += _bystanders(rng, layout, wanted - len(balls))
    slots = 1 + rng.permutation(SLOTS - 1)[: len(balls)]
    start = np.zeros((SLOTS, 2))
    on_table = np.zeros(SLOTS, bool)
    for slot, point in [(0, layout.cue), *zip(slots.tolist(), balls, strict=True)]:
        start[slot] = point.real, point.imag
        on_table[slot] = True
    strike = layout.aim / abs(layout.aim) * layout.speed
    return Shot(kind, start, on_table, np.array([strike.real, strike.imag]))


def _sound(layout: _Layout) -> bool:
    """Whether every ball lies on the cloth and nothing blocks the lanes or overlaps."""
    points = [layout.cue, *layout.balls]
    apart = all(abs(p - q) > _DIAMETER * 1.005 for i, p in enumerate(points) for q in points[:i])
    return apart and all(_inside(point) for point in points)


def _inside(point: complex, margin: float = 1.3 * BALL_RADIUS) -> bool:
    return margin < point.real < WIDTH - margin and margin < point.imag < HEIGHT - margin


def _anywhere(rng: np.random.Generator, margin: float = 0.09) -> complex:
    return complex(rng.uniform(margin, WIDTH - margin), rng.uniform(margin, HEIGHT - margin))


def _turned(direction: complex, angle: float) -> complex:
    return direction * cmath.exp(1j * angle)


def _unit(vector: complex) -> complex:
    return vector / max(abs(vector), 1e-9)


def _distance(lane: Lane, point: complex) -> float:
    """Distance of a point from a lane (a straight piece of a path)."""
    start, end = lane
    along = end - start
    share = ((point - start) * along.conjugate()).real / max(abs(along) ** 2, 1e-12)
    return abs(start + along * min(1.0, max(0.0, share)) - point)


def _free(lanes: Sequence[Lane], balls: Sequence[complex]) -> bool:
    return all(_distance(lane, ball) > _DIAMETER * 1.03 for lane in lanes for ball in balls)


def _bystanders(rng: np.random.Generator, layout: _Layout, count: int) -> list[complex]:
    """Add up to `count` balls that keep clear of the lanes (nearly always) and of each other."""
    placed: list[complex] = []
    taken = [layout.cue, *layout.balls]
    for _ in range(40 * max(0, count)):
        if len(placed) == count:
            break
        point = _anywhere(rng)
        apart = all(abs(point - other) > 1.2 * _DIAMETER for other in [*taken, *placed])
        if apart and (_free(layout.lanes, [point]) or rng.random() < 0.03):
            placed.append(point)
    return placed


def _pocket(rng: np.random.Generator, ball: complex) -> complex | None:
    """A pocket the ball can enter: a middle pocket is closed to a ball that comes along the cushion."""
    number = int(rng.choice(6, p=_POCKET_SHARES))
    target = _TARGETS[number]
    steep = abs(_unit(target - ball).imag)
    return None if number in (1, 4) and steep < 0.55 else target


def _approach(rng: np.random.Generator, ghost: complex, line: complex, spread: float) -> complex:
    """A place for the white ball from which it meets `ghost` at some angle to `line`."""
    angle = float(np.clip(rng.normal(0, spread), -0.95, 0.95))
    return ghost - _turned(line, angle) * rng.uniform(0.2, 0.9)


def _break(rng: np.random.Generator) -> _Layout | None:
    apex, middle = WIDTH * 0.66, HEIGHT / 2
    rows = [(row, place) for row in range(3) for place in range(row + 1)]
    balls = [
        complex(apex + row * _DIAMETER * 0.87, middle + (place - row / 2) * _DIAMETER * 1.01)
        for row, place in rows
    ]
    cue = complex(rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7))
    aim = complex(apex, middle + rng.uniform(-0.04, 0.04)) - cue
    if rng.random() < 0.5:
        balls = [complex(WIDTH - ball.real, ball.imag) for ball in balls]
        cue, aim = complex(WIDTH - cue.real, cue.imag), complex(-aim.real, aim.imag)
    return _Layout(cue, aim, rng.uniform(3.4, 4.8), balls)


def _pot(rng: np.random.Generator) -> _Layout | None:
    ball = _anywhere(rng)
    target = _pocket(rng, ball)
    if target is None:
        return None
    line = _unit(target - ball)
    ghost = ball - line * _DIAMETER
    cue = _approach(rng, ghost, line, 0.45)
    return _Layout(cue, ghost - cue, rng.uniform(1.2, 2.3), [ball], [(cue, ghost), (ball, target)])


def _combination(rng: np.random.Generator) -> _Layout | None:
    ball = _anywhere(rng)
    target = _pocket(rng, ball)
    if target is None:
        return None
    line = _unit(target - ball)
    contact = ball - line * _DIAMETER
    line = _turned(line, rng.normal(0, 0.08))
    helper = contact - line * rng.uniform(0.09, 0.5)
    ghost = helper - line * _DIAMETER
    cue = _approach(rng, ghost, line, 0.2)
    if not _free([(cue, ghost)], [ball]):
        return None
    lanes = [(cue, ghost), (helper, contact), (ball, target)]
    return _Layout(cue, ghost - cue, rng.uniform(1.5, 2.5), [ball, helper], lanes)


def _double(rng: np.random.Generator) -> _Layout | None:
    ball = _anywhere(rng)
    target = _pocket(rng, ball)
    if target is None:
        return None
    line = _unit(target - ball)
    ghost = ball - line * _DIAMETER
    cut = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 0.95)
    into = _turned(line, cut)
    out = _unit(into - line * ((1 + BALL_RESTITUTION) / 2 * math.cos(cut)))
    for jaw in _TARGETS:
        way = _unit(jaw - ghost)
        hanging = jaw - way * 0.11
        if jaw != target and abs(way - out) < 0.07 and abs(hanging - ghost) > 0.2:
            cue = ghost - into * rng.uniform(0.2, 0.7)
            lanes = [(cue, ghost), (ball, target), (ghost, hanging)]
            if _free(lanes[:2], [hanging]) and _free(lanes[2:], [cue]):
                return _Layout(cue, ghost - cue, rng.uniform(1.9, 2.8), [ball, hanging], lanes)
    return None


def _off_cushion(start: complex, goal: complex, side: int) -> complex | None:
    """Where to meet cushion `side` to reach `goal` from `start`; None if a pocket gapes there.

    A cushion gives back only part of the speed across it, so the goal's mirror image lies further
    behind the cushion by that factor.
    """
    upright = side in (0, 1)
    length = WIDTH if upright else HEIGHT
    line = BALL_RADIUS if side in (0, 2) else length - BALL_RADIUS
    turn = (lambda p: p) if upright else (lambda p: complex(p.imag, p.real))
    s, g = turn(start), turn(goal)
    mirrored = line + (line - g.real) / CUSHION_RESTITUTION
    if abs(mirrored - s.real) < 0.05 or (s.real - line) * (mirrored - line) >= 0:
        return None
    height = s.imag + (g.imag - s.imag) * (line - s.real) / (mirrored - s.real)
    point = turn(complex(line, height))
    gaps = np.hypot(POCKET_CENTRES[:, 0] - point.real, POCKET_CENTRES[:, 1] - point.imag) - POCKET_RADII
    return point if gaps.min() > MOUTH + 0.02 and _inside(point, 0.9 * BALL_RADIUS) else None


def _kick(rng: np.random.Generator) -> _Layout | None:
    ball, cue = _anywhere(rng), _anywhere(rng)
    target = _pocket(rng, ball)
    if target is None:
        return None
    line = _unit(target - ball)
    ghost = ball - line * _DIAMETER
    bounce = _off_cushion(cue, ghost, int(rng.integers(4)))
    if bounce is None or not _inside(ghost) or (_unit(ghost - bounce) * line.conjugate()).real < 0.35:
        return None
    lanes = [(cue, bounce), (bounce, ghost)]
    if not _free(lanes[:1], [ball]) or abs(cue - bounce) < 0.15:
        return None
    return _Layout(cue, bounce - cue, rng.uniform(1.6, 2.6), [ball], [*lanes, (ball, target)])


def _bank(rng: np.random.Generator) -> _Layout | None:
    ball = _anywhere(rng)
    target = _TARGETS[int(rng.integers(6))]
    bounce = _off_cushion(ball, target, int(rng.integers(4)))
    if bounce is None:
        return None
    line = _unit(bounce - ball)
    ghost = ball - line * _DIAMETER
    cue = _approach(rng, ghost, line, 0.25)
    lanes = [(cue, ghost), (ball, bounce), (bounce, target)]
    return _Layout(cue, ghost - cue, rng.uniform(1.6, 2.5), [ball], lanes)


def _miss(rng: np.random.Generator) -> _Layout | None:
    layout = _pot(rng)
    if layout is None:
        return None
    error = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.05, 0.15)
    return _Layout(layout.cue, _turned(layout.aim, error), layout.speed, layout.balls, layout.lanes)


def _scratch(rng: np.random.Generator) -> _Layout | None:
    if rng.random() < 0.1:
        return _straight_scratch(rng)
    ghost = _anywhere(rng)
    target = _pocket(rng, ghost)
    if target is None:
        return None
    # The white ball keeps all speed across the line of centres and almost none along it.
    cut = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 1.0)
    into = cmath.exp(1j * cut)
    out = into - (1 + BALL_RESTITUTION) / 2 * math.cos(cut)
    turn = _unit(target - ghost) / _unit(out)
    ball = ghost + turn * _DIAMETER
    cue = ghost - turn * into * rng.uniform(0.2, 0.8)
    if not _free([(ghost + _unit(target - ghost) * 0.01, target)], [cue]):
        return None
    return _Layout(cue, ghost - cue, rng.uniform(1.4, 2.4), [ball], [(cue, ghost), (ghost, target)])


def _straight_scratch(rng: np.random.Generator) -> _Layout | None:
    cue = _anywhere(rng)
    target = _pocket(rng, cue)
    return None if target is None else _Layout(cue, target - cue, rng.uniform(0.9, 1.6), [], [(cue, target)])


def _no_hit(rng: np.random.Generator) -> _Layout | None:
    cue, aim = _anywhere(rng), cmath.exp(1j * rng.uniform(-math.pi, math.pi))
    speed = rng.uniform(0.5, 1.1)
    # Unfold the path at the cushions to find the lanes it takes.
    lanes: list[Lane] = []
    place, left = cue, speed * 1.6
    for _ in range(3):
        reach = left
        for at, toward, length in ((place.real, aim.real, WIDTH), (place.imag, aim.imag, HEIGHT)):
            wall = length - BALL_RADIUS if toward > 0 else BALL_RADIUS
            if abs(toward) > 1e-9:
                reach = min(reach, (wall - at) / toward)
        end = place + aim * max(0.0, reach)
        lanes.append((place, end))
        upright = min(end.real, WIDTH - end.real) < min(end.imag, HEIGHT - end.imag)
        rebound = CUSHION_RESTITUTION
        turned = complex(-rebound * aim.real, aim.imag) if upright else complex(aim.real, -rebound * aim.imag)
        place, left, aim_next = end, left - reach, _unit(turned)
        if left <= 0:
            break
        aim = aim_next
    return _Layout(cue, lanes[0][1] - cue, speed, [], lanes) if abs(lanes[0][1] - cue) > 0.1 else None


_PLANNERS: dict[str, Callable[[np.random.Generator], _Layout | None]] = {
    "break": _break,
    "pot": _pot,
    "combination": _combination,
    "double": _double,
    "kick": _kick,
    "bank": _bank,
    "miss": _miss,
    "scratch": _scratch,
    "no_hit": _no_hit,
}
