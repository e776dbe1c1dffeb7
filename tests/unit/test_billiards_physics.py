from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from vidapt.worlds.billiards.physics import (
    BALL_RESTITUTION,
    CUSHION_RESTITUTION,
    DRAG,
    FRICTION,
    STEP_S,
    Shot,
    _Tables,
    roll,
)
from vidapt.worlds.billiards.shots import MIX, plan
from vidapt.worlds.billiards.table import (
    BALL_RADIUS,
    FPS,
    FRAMES,
    HEIGHT,
    MOUTH,
    POCKET_CENTRES,
    POCKET_RADII,
    POCKETS,
    SIDES,
    SLOTS,
    STRIKE_S,
    WIDTH,
)

CLIPS = 64
REFRESH = 10
STRIKE = round(STRIKE_S / STEP_S)
SAME_CONTACT_S = 0.1
"""Bodies that touch again within this time are one event."""


def shot(balls: dict[int, tuple[float, float]], strike: tuple[float, float]) -> Shot:
    """A table with the balls of some slots, the white one being slot 0."""
    start, on_table = np.zeros((SLOTS, 2)), np.zeros(SLOTS, bool)
    for slot, place in balls.items():
        start[slot], on_table[slot] = place, True
    return Shot("test", start, on_table, np.array(strike))


@dataclass
class Watched:
    """Shots followed step by step: index k is the state at time k * STEP_S.

    `place` and `speed` are [steps, B, SLOTS, 2], `live` is [steps, B, SLOTS]. The change of energy and of
    momentum in a step is listed apart for rolling, for balls meeting balls and for edges.
    """

    place: np.ndarray
    speed: np.ndarray
    live: np.ndarray
    gained: dict[str, np.ndarray]
    pushed: np.ndarray
    log: list


def watch(shots: list[Shot]) -> Watched:
    tables = _Tables(shots)
    place, speed, live, pushed = [], [], [], []
    gained: dict[str, list[np.ndarray]] = {"rolling": [], "balls": [], "edges": []}

    def snapshot() -> None:
        place.append(np.stack([tables.x, tables.y], -1).reshape(-1, SLOTS, 2))
        speed.append(np.stack([tables.vx, tables.vy], -1).reshape(-1, SLOTS, 2))
        live.append(tables.live.reshape(-1, SLOTS).copy())

    def energy() -> np.ndarray:
        return (tables.vx**2 + tables.vy**2).reshape(-1, SLOTS).sum(1)

    def momentum() -> np.ndarray:
        return np.stack([tables.vx, tables.vy], -1).reshape(-1, SLOTS, 2).sum(1)

    for step in range((FRAMES - 1) * round(1 / FPS / STEP_S) + 1):
        snapshot()
        if step < STRIKE:
            continue
        if step == STRIKE:
            tables.strike(shots)
        if (step - STRIKE) % REFRESH == 0:
            tables.find_near()
        time_s = (step + 1) * STEP_S
        before = energy()
        tables.move()
        gained["rolling"].append(energy() - before)
        before, moved = energy(), momentum()
        tables.collide(time_s)
        gained["balls"].append(energy() - before)
        pushed.append(momentum() - moved)
        before = energy()
        tables.meet_edges(time_s)
        gained["edges"].append(energy() - before)
    log = [[c for c in contacts if c.time_s <= (FRAMES - 1) / FPS] for contacts in tables.log]
    gains = {name: np.array(values) for name, values in gained.items()}
    return Watched(np.array(place), np.array(speed), np.array(live), gains, np.array(pushed), log)


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return [plan(np.random.default_rng([4, index])) for index in range(CLIPS)]


@pytest.fixture(scope="module")
def watched(shots) -> Watched:
    return watch(shots)


def test_the_step_by_step_view_of_these_tests_is_what_roll_returns(shots, watched):
    rolled = roll(shots)
    every = round(1 / FPS / STEP_S)
    assert (rolled.seen == watched.live[::every].swapaxes(0, 1)).all()
    assert rolled.contacts == watched.log
    paths = watched.place[::every].swapaxes(0, 1).astype(np.float32)
    assert (rolled.paths[rolled.seen] == paths[rolled.seen]).all()


def test_the_shots_watched_here_are_of_every_kind(shots):
    assert {shot.kind for shot in shots} == set(MIX)


@pytest.mark.parametrize("cause", ["rolling", "balls", "edges"])
def test_nothing_ever_adds_energy(watched, cause):
    assert watched.gained[cause].max() <= 1e-12
    assert watched.gained[cause].min() < -1e-3


def test_balls_that_meet_keep_their_momentum(watched):
    assert np.abs(watched.pushed).max() < 1e-12


def test_balls_stay_on_the_cloth_and_leave_it_only_at_a_mouth(watched):
    on = watched.place[watched.live]
    assert (on >= 0).all()
    assert (on <= [WIDTH, HEIGHT]).all()
    beyond = ((on < BALL_RADIUS - 1e-9) | (on > np.array([WIDTH, HEIGHT]) - BALL_RADIUS + 1e-9)).any(1)
    to_pocket = np.linalg.norm(on[beyond][:, None] - POCKET_CENTRES, axis=-1) - POCKET_RADII
    assert beyond.any()
    assert (to_pocket.min(1) < MOUTH + 0.012).all()


def test_balls_never_overlap_by_more_than_a_step_of_travel(watched):
    first, second = np.triu_indices(SLOTS, 1)
    both = watched.live[:, :, first] & watched.live[:, :, second]
    gaps = np.linalg.norm(watched.place[:, :, first] - watched.place[:, :, second], axis=-1)
    assert gaps[both].min() > 2 * BALL_RADIUS - 0.012


def test_a_pocketed_ball_fell_near_its_pocket_and_never_comes_back(shots, watched):
    fallen = 0
    for clip, log in enumerate(watched.log):
        sunk = {c.slot: c for c in log if c.kind == "pocket"}
        for slot in np.flatnonzero(shots[clip].on_table):
            gone = np.flatnonzero(~watched.live[:, clip, slot])
            assert (slot in sunk) == bool(len(gone))
            if slot in sunk:
                step = round(sunk[slot].time_s / STEP_S)
                assert gone.tolist() == list(range(step, len(watched.live)))
                way = watched.place[step - 1, clip, slot] - POCKET_CENTRES[sunk[slot].other]
                assert np.hypot(*way) < POCKET_RADII[sunk[slot].other] + MOUTH + 0.012
                assert all(c.time_s <= sunk[slot].time_s for c in log if slot in (c.slot, _other(c)))
                fallen += 1
    assert fallen > 15


def _other(contact) -> int | None:
    return contact.other if contact.kind == "hit" else None


def test_at_a_logged_hit_the_balls_touch_and_at_a_logged_cushion_the_ball_lies_against_it(watched):
    lines = {"left": (0, BALL_RADIUS), "right": (0, WIDTH - BALL_RADIUS)}
    lines |= {"bottom": (1, BALL_RADIUS), "top": (1, HEIGHT - BALL_RADIUS)}
    kinds = set()
    for clip, log in enumerate(watched.log):
        for contact in log:
            place = watched.place[round(contact.time_s / STEP_S), clip]
            if contact.kind == "hit":
                gap = np.hypot(*(place[contact.slot] - place[contact.other]))
                # In a crowd the next pair may push the two together again within the same step.
                assert gap == pytest.approx(2 * BALL_RADIUS, abs=6e-3)
            elif contact.kind == "cushion":
                axis, line = lines[SIDES[contact.other]]
                assert place[contact.slot, axis] == pytest.approx(line, abs=1e-9)
            kinds.add(contact.kind)
    assert kinds == {"hit", "cushion", "pocket"}


def test_no_ball_changes_course_without_an_event_in_the_log(watched):
    jumps = np.linalg.norm(np.diff(watched.speed, axis=0), axis=-1)
    jumps[STRIKE, :, 0] = 0.0
    jumps[~watched.live[1:]] = 0.0
    turned = np.argwhere(jumps > 0.06)
    assert len(turned) > 100
    for step, clip, slot in turned:
        times = [c.time_s for c in watched.log[clip] if slot in (c.slot, _other(c))]
        assert any(-1e-9 <= (step + 1) * STEP_S - time <= SAME_CONTACT_S for time in times)


def test_logs_are_in_order_of_time_and_end_with_the_film(watched):
    for log in watched.log:
        times = [c.time_s for c in log]
        assert times == sorted(times)
        assert all(STRIKE_S < time <= (FRAMES - 1) / FPS for time in times)


def test_nothing_moves_before_the_strike(watched):
    assert (watched.place[: STRIKE + 1] == watched.place[0]).all()
    assert (watched.speed[:STRIKE] == 0).all()


def test_a_rolling_ball_slows_down_as_friction_and_drag_say_and_then_lies_still():
    speed = 0.4
    rolled = roll([shot({0: (0.3, 0.5)}, (speed, 0.0))])
    x = rolled.paths[0, :, 0, 0].astype(float)
    # dv/dt = -(FRICTION + DRAG v): how far the ball comes, and after what time it lies.
    stop_s = np.log1p(DRAG * speed / FRICTION) / DRAG
    reach = speed / DRAG - FRICTION / DRAG * stop_s
    steps = np.diff(x)
    assert x[-1] - x[0] == pytest.approx(reach, abs=2e-3)
    assert (steps >= 0).all()
    lying = int(np.ceil((STRIKE_S + stop_s) * FPS))
    assert lying < FRAMES - 2
    assert (steps[lying:] == 0).all()
    assert steps[lying - 2] > 0
    assert (rolled.paths[0, :, 0, 1] == np.float32(0.5)).all()


def test_a_full_hit_hands_over_all_speed_but_what_restitution_takes():
    seen = watch([shot({0: (0.5, 0.5), 3: (0.7, 0.5)}, (1.0, 0.0))])
    (hit,) = [c for c in seen.log[0] if c.kind == "hit"]
    assert (hit.slot, hit.other) == (0, 3)
    step = round(hit.time_s / STEP_S)
    before, after = seen.speed[step - 1, 0], seen.speed[step, 0]
    lost = 1 - STEP_S * (DRAG + FRICTION / before[0, 0])
    assert after[3, 0] == pytest.approx(before[0, 0] * lost * (1 + BALL_RESTITUTION) / 2, rel=1e-9)
    assert after[0, 0] == pytest.approx(before[0, 0] * lost * (1 - BALL_RESTITUTION) / 2, rel=1e-9)


def test_a_cushion_turns_the_speed_across_it_and_leaves_the_speed_along_it():
    seen = watch([shot({0: (1.4, 0.3)}, (1.5, 0.3))])
    (touch,) = [c for c in seen.log[0] if SIDES[c.other] == "right"]
    step = round(touch.time_s / STEP_S)
    before, after = seen.speed[step - 1, 0, 0], seen.speed[step, 0, 0]
    assert after[0] == pytest.approx(-CUSHION_RESTITUTION * before[0], rel=2e-3)
    assert after[1] == pytest.approx(before[1], rel=2e-3)


@pytest.mark.parametrize("pocket", range(6))
def test_a_ball_sent_into_a_pocket_falls_into_that_one(pocket):
    target = np.clip(POCKET_CENTRES[pocket], 0.02, [WIDTH - 0.02, HEIGHT - 0.02])
    start = np.array([WIDTH / 2, HEIGHT / 2])
    way = target - start
    rolled = roll([shot({0: tuple(start)}, tuple(way / np.hypot(*way)))])
    (contact,) = rolled.contacts[0]
    assert (contact.kind, contact.slot, POCKETS[contact.other]) == ("pocket", 0, POCKETS[pocket])
    assert not rolled.seen[0, -1].any()


@pytest.mark.parametrize(("axis", "length"), [(0, WIDTH), (1, HEIGHT)])
def test_a_mirrored_table_plays_the_mirrored_shot(shots, axis, length):
    # Where many balls meet, the last bit of a float decides; a few hits are still the same both ways.
    logs = roll(shots).contacts
    calm = [s for s, log in zip(shots, logs, strict=True) if 0 < len(log) <= 5 and s.kind != "break"]
    assert len(calm) > 15
    rolled, mirrored = roll(calm), roll([_mirror(s, axis, length) for s in calm])
    assert (rolled.seen == mirrored.seen).all()
    flipped = mirrored.paths.copy()
    flipped[..., axis] = length - flipped[..., axis]
    np.testing.assert_allclose(flipped[rolled.seen], rolled.paths[rolled.seen], atol=1e-4)
    words = (("left", "right"), ("bottom", "top"))[axis]
    for log, other in zip(rolled.contacts, mirrored.contacts, strict=True):
        assert [(c.time_s, c.kind, c.slot, _named(c)) for c in log] == [
            (c.time_s, c.kind, c.slot, _swap(_named(c), *words)) for c in other
        ]


def _mirror(shot: Shot, axis: int, length: float) -> Shot:
    start, strike = shot.start.copy(), shot.strike.copy()
    start[:, axis] = length - start[:, axis]
    strike[axis] *= -1
    return Shot(shot.kind, start, shot.on_table, strike)


def _named(contact) -> str:
    names = {"hit": [str(slot) for slot in range(SLOTS)], "cushion": SIDES, "pocket": POCKETS}
    return names[contact.kind][contact.other]


def _swap(text: str, one: str, other: str) -> str:
    return text.replace(one, "?").replace(other, one).replace("?", other)
