"""How the balls roll: a batched time stepper in numpy.

Every clip of a batch is computed from its own numbers by element-wise operations only, so a shot ends
the same whatever else lies in the batch. There is no spin; a ball slows by rolling friction and drag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidapt.worlds.billiards.table import (
    BALL_RADIUS,
    FPS,
    FRAMES,
    HEIGHT,
    MOUTH,
    POCKET_CENTRES,
    POCKET_RADII,
    SLOTS,
    STRIKE_S,
    WIDTH,
)

STEP_S = 0.002
BALL_RESTITUTION = 0.94
CUSHION_RESTITUTION = 0.78
FRICTION = 0.16
"""Loss of speed by rolling, in m/s per second."""
DRAG = 0.14
"""Loss of speed in proportion to it, per second."""

_STEPS_PER_FRAME = round(1 / FPS / STEP_S)
_REFRESH = 10
_SLACK = 0.01
_AUDIBLE = 0.03
"""Contacts slower than this (m/s) are no event: nobody would see them."""
_PAUSE_S = 0.1
"""The same two bodies touching again within this time is one event."""
_AWAY = -9.0

ContactKind = Literal["hit", "cushion", "pocket"]


@dataclass(frozen=True, slots=True)
class Shot:
    """A table before the strike.

    Attributes:
        kind: What the shot was planned as; what happens is decided by the physics.
        start: [SLOTS, 2] float64, metres.
        on_table: [SLOTS] bool.
        strike: [2] float64, velocity of the white ball after the strike, m/s.
    """

    kind: str
    start: np.ndarray
    on_table: np.ndarray
    strike: np.ndarray


@dataclass(frozen=True, slots=True)
class Contact:
    """One thing that happened, in slots: `other` is a slot, a side or a pocket, by `kind`."""

    time_s: float
    kind: ContactKind
    slot: int
    other: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a batch of B shots came to.

    Attributes:
        paths: [B, FRAMES, SLOTS, 2] float32, metres; meaningless where `seen` is False.
        seen: [B, FRAMES, SLOTS] bool, whether the ball is on the table.
        contacts: B logs, each in order of time.
    """

    paths: np.ndarray
    seen: np.ndarray
    contacts: list[list[Contact]]


class _Tables:
    """The state of B tables, flat: ball `slot` of clip `b` is element `b * SLOTS + slot`."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        start = np.stack([shot.start for shot in shots]).reshape(-1, 2)
        self.live = np.stack([shot.on_table for shot in shots]).reshape(-1).copy()
        self.x = np.where(self.live, start[:, 0], _AWAY)
        self.y = np.where(self.live, start[:, 1], _AWAY)
        self.vx = np.zeros_like(self.x)
        self.vy = np.zeros_like(self.y)
        self.log: list[list[Contact]] = [[] for _ in shots]
        self.first, self.second = np.triu_indices(SLOTS, 1)
        self.near = (np.zeros(0, np.intp), np.zeros(0, np.intp))
        self.last_touch: dict[tuple[int, int], float] = {}
        self.last_cushion: dict[tuple[int, int], float] = {}

    def strike(self, shots: Sequence[Shot]) -> None:
        self.vx[::SLOTS] = [shot.strike[0] for shot in shots]
        self.vy[::SLOTS] = [shot.strike[1] for shot in shots]

    def move(self) -> None:
        """Slow every ball down and let it roll for one step."""
        speed = np.sqrt(self.vx * self.vx + self.vy * self.vy)
        keep = np.maximum(0.0, 1.0 - STEP_S * (DRAG + FRICTION / np.maximum(speed, 1e-6)))
        self.vx *= keep
        self.vy *= keep
        self.x += self.vx * STEP_S
        self.y += self.vy * STEP_S

    def find_near(self) -> None:
        """List the pairs that can touch before the next refresh.

        Energy never grows, so no two balls of a clip can close in faster than sqrt(2 * sum of v^2).
        """
        x, y, live = (a.reshape(-1, SLOTS) for a in (self.x, self.y, self.live))
        energy = (self.vx * self.vx + self.vy * self.vy).reshape(-1, SLOTS).sum(1)
        reach = 2 * BALL_RADIUS + _SLACK + np.sqrt(2 * energy) * (_REFRESH * STEP_S)
        dx = x[:, self.second] - x[:, self.first]
        dy = y[:, self.second] - y[:, self.first]
        close = dx * dx + dy * dy < (reach * reach)[:, None]
        clip, pair = np.nonzero(close & live[:, self.first] & live[:, self.second])
        self.near = (clip * SLOTS + self.first[pair], clip * SLOTS + self.second[pair])

    def collide(self, time_s: float) -> None:
        """Resolve the touching pairs, one after the other so that energy cannot grow."""
        a, b = self.near
        dx, dy = self.x[b] - self.x[a], self.y[b] - self.y[a]
        for k in np.flatnonzero(dx * dx + dy * dy < 4 * BALL_RADIUS**2):
            i, j = int(a[k]), int(b[k])
            if self.live[i] and self.live[j]:
                self._bounce(i, j, time_s)

    def _bounce(self, i: int, j: int, time_s: float) -> None:
        dx, dy = float(self.x[j] - self.x[i]), float(self.y[j] - self.y[i])
        gap = max((dx * dx + dy * dy) ** 0.5, 1e-9)
        nx, ny = dx / gap, dy / gap
        closing = -float((self.vx[j] - self.vx[i]) * nx + (self.vy[j] - self.vy[i]) * ny)
        if closing > _AUDIBLE:
            self._note_hit(i, j, time_s)
        if closing > 0:
            push = (1 + BALL_RESTITUTION) / 2 * closing
            self.vx[i] -= push * nx
            self.vy[i] -= push * ny
            self.vx[j] += push * nx
            self.vy[j] += push * ny
        overlap = max(0.0, 2 * BALL_RADIUS - gap) / 2
        self.x[i] -= overlap * nx
        self.y[i] -= overlap * ny
        self.x[j] += overlap * nx
        self.y[j] += overlap * ny

    def _note_hit(self, i: int, j: int, time_s: float) -> None:
        if time_s - self.last_touch.get((i, j), -1.0) > _PAUSE_S:
            speed_i = self.vx[i] ** 2 + self.vy[i] ** 2
            speed_j = self.vx[j] ** 2 + self.vy[j] ** 2
            # The white ball is the one that hits; among coloured balls it is the faster one.
            by, of = (i, j) if i % SLOTS == 0 or speed_i >= speed_j else (j, i)
            self.log[i // SLOTS].append(Contact(time_s, "hit", by % SLOTS, of % SLOTS))
        self.last_touch[i, j] = time_s

    def meet_edges(self, time_s: float) -> None:
        """Let balls that reached the edge of the cloth fall into a pocket or come back from a cushion."""
        over = np.abs(self.x - WIDTH / 2) > WIDTH / 2 - BALL_RADIUS
        over |= np.abs(self.y - HEIGHT / 2) > HEIGHT / 2 - BALL_RADIUS
        over &= self.live
        for k in np.flatnonzero(over):
            i = int(k)
            x, y = float(self.x[i]), float(self.y[i])
            distance = np.hypot(POCKET_CENTRES[:, 0] - x, POCKET_CENTRES[:, 1] - y) - POCKET_RADII
            pocket = int(distance.argmin())
            beyond = not (0 <= x <= WIDTH and 0 <= y <= HEIGHT)
            in_mouth = bool(distance[pocket] < MOUTH)
            if distance[pocket] < 0 or (in_mouth and beyond):
                self._sink(i, pocket, time_s)
            elif not in_mouth:
                self._rebound(i, time_s)

    def _sink(self, i: int, pocket: int, time_s: float) -> None:
        self.live[i] = False
        self.x[i] = self.y[i] = _AWAY
        self.vx[i] = self.vy[i] = 0.0
        self.log[i // SLOTS].append(Contact(time_s, "pocket", i % SLOTS, pocket))

    def _rebound(self, i: int, time_s: float) -> None:
        for axis, (place, speed, length) in enumerate(((self.x, self.vx, WIDTH), (self.y, self.vy, HEIGHT))):
            low, high = place[i] < BALL_RADIUS, place[i] > length - BALL_RADIUS
            if not (low or high):
                continue
            place[i] = BALL_RADIUS if low else length - BALL_RADIUS
            if (speed[i] < 0) != low or speed[i] == 0:
                continue
            side = 2 * axis + int(high)
            if abs(speed[i]) > _AUDIBLE:
                if time_s - self.last_cushion.get((i, side), -1.0) > _PAUSE_S:
                    self.log[i // SLOTS].append(Contact(time_s, "cushion", i % SLOTS, side))
                self.last_cushion[i, side] = time_s
            speed[i] *= -CUSHION_RESTITUTION


def roll(shots: Sequence[Shot]) -> Rolled:
    """Play B shots.

    Args:
        shots: The tables and strikes; B of them.

    Returns:
        Paths at `table.FPS` frames a second, what is on the table, and the event logs. Nothing that
        happens after the last frame is logged.
    """
    tables = _Tables(shots)
    paths = np.empty((len(shots), FRAMES, SLOTS, 2), np.float32)
    seen = np.empty((len(shots), FRAMES, SLOTS), bool)
    strike_step = round(STRIKE_S / STEP_S)
    for step in range((FRAMES - 1) * _STEPS_PER_FRAME + 1):
        if step % _STEPS_PER_FRAME == 0:
            frame = step // _STEPS_PER_FRAME
            paths[:, frame, :, 0] = tables.x.reshape(-1, SLOTS)
            paths[:, frame, :, 1] = tables.y.reshape(-1, SLOTS)
            seen[:, frame] = tables.live.reshape(-1, SLOTS)
        if step < strike_step:
            continue
        if step == strike_step:
            tables.strike(shots)
        if (step - strike_step) % _REFRESH == 0:
            tables.find_near()
        tables.move()
        tables.collide((step + 1) * STEP_S)
        tables.meet_edges((step + 1) * STEP_S)
    for log in tables.log:
        # The step after the last frame is computed but no longer seen.
        log[:] = [contact for contact in log if contact.time_s <= (FRAMES - 1) / FPS]
    return Rolled(paths, seen, tables.log)
