"""Things that roll, rebound and meet: what moves is what the log says."""

from __future__ import annotations

import numpy as np
import pytest

from vidapt.worlds.shapes.field import COLOURS, END_S, FRAMES, HEIGHT, KINDS, SIZES, TEXTURES, WIDTH
from vidapt.worlds.shapes.physics import Moved, move
from vidapt.worlds.shapes.plan import MOTIONS, Motion, Thing, draw


def thing(
    motion: Motion = "rest",
    place: tuple[float, float] = (0.9, 0.5),
    speed: tuple[float, float] = (0.0, 0.0),
    time_s: float = 1.0,
    rate: float = 0.0,
) -> Thing:
    return Thing("red", "disc", "plain", "small", motion, place, speed, 0.0, time_s, rate)


def log(moved: Moved) -> list[tuple[str, int, int]]:
    return [(entry.kind, entry.first, entry.second) for entry in moved.log]


@pytest.fixture(scope="module")
def drawn() -> list[tuple[tuple[Thing, ...], Moved]]:
    things = [draw(np.random.default_rng([3, k]), COLOURS, KINDS, TEXTURES) for k in range(120)]
    return [(one, move(one)) for one in things]


def test_what_rests_stays_and_what_rolls_goes_straight_until_an_edge() -> None:
    moved = move([thing(), thing("roll", (0.3, 0.2), (0.0, 0.4))])
    assert np.ptp(moved.places[:, 0], axis=0).max() == 0
    assert moved.places[10, 1].tolist() == pytest.approx([0.3, 0.6])
    assert log(moved) == [("bounce", 1, 3)]
    assert moved.log[0].time_s == pytest.approx((HEIGHT - 0.2 - SIZES["small"]) / 0.4, abs=0.03)


def test_what_stops_stops_and_what_starts_late_starts_then() -> None:
    moved = move([thing("stop", (0.3, 0.3), (0.2, 0.0)), thing("late", (0.3, 0.8), (0.2, 0.0), 2.0)])
    assert log(moved) == [("stop", 0, -1), ("start", 1, -1)]
    assert [entry.time_s for entry in moved.log] == pytest.approx([1.0, 2.0], abs=0.03)
    assert np.ptp(moved.places[11:, 0], axis=0).max() == 0
    assert np.ptp(moved.places[:20, 1], axis=0).max() == 0


def test_two_that_meet_exchange_speed_and_are_told_to_touch_once() -> None:
    moved = move([thing("roll", (0.4, 0.5), (0.4, 0.0)), thing("rest", (0.9, 0.5))])
    assert log(moved)[:3] == [("touch", 0, 1), ("stop", 0, -1), ("start", 1, -1)]
    assert [kind for kind, *_ in log(moved)].count("touch") == 1
    met = moved.log[0].time_s
    assert met == pytest.approx((0.5 - 2 * SIZES["small"]) / 0.4, abs=0.03)
    after = moved.places[round(met * 10) + 4, 1, 0] - moved.places[round(met * 10) + 2, 1, 0]
    assert after == pytest.approx(0.4 * 0.925 * 0.2, rel=0.05)


def test_a_circle_comes_back_and_throws_off_what_it_meets() -> None:
    circling = thing("circle", (0.9, 0.5), (0.12, 0.0), rate=2 * np.pi / 2)
    moved = move([circling])
    assert moved.places[20, 0].tolist() == pytest.approx(moved.places[0, 0].tolist(), abs=0.02)
    assert np.hypot(*(moved.places[10, 0] - moved.places[0, 0])) == pytest.approx(0.24, abs=0.02)
    moved = move([circling, thing("rest", (0.74, 0.62))])
    assert log(moved)[0][0] == "touch"
    assert np.hypot(*(moved.places[-1, 1] - moved.places[0, 1])) > 0.2


def test_what_turns_keeps_its_place_and_what_appears_or_vanishes_does_so_at_its_time() -> None:
    moved = move([thing("turn", rate=1.5), thing("appear", (0.3, 0.3)), thing("vanish", (1.5, 0.3))])
    assert moved.angles[-1, 0] == pytest.approx(1.5 * END_S, abs=0.05)
    assert log(moved) == [("appear", 1, -1), ("vanish", 2, -1)]
    assert moved.seen[:, 1].tolist() == [frame > 9 for frame in range(FRAMES)]
    assert moved.seen[:, 2].tolist() == [frame <= 9 for frame in range(FRAMES)]


def test_things_cross_an_edge_once_and_only_if_they_are_meant_to() -> None:
    moved = move([thing("leave", (1.5, 0.5), (0.5, 0.0)), thing("enter", (-0.4, 0.2), (0.5, 0.0))])
    assert log(moved) == [("leave", 0, 1), ("enter", 1, 0)]
    assert moved.places[-1, 0, 0] > WIDTH
    assert 0 < moved.places[-1, 1, 0] < WIDTH


def test_what_has_left_or_is_not_there_touches_nothing() -> None:
    moved = move([thing("vanish", (0.9, 0.5)), thing("roll", (0.3, 0.5), (0.3, 0.0))])
    assert "touch" not in {kind for kind, *_ in log(moved)}


def test_the_log_is_in_order_and_every_motion_and_event_is_drawn(
    drawn: list[tuple[tuple[Thing, ...], Moved]],
) -> None:
    kinds = {entry.kind for _, moved in drawn for entry in moved.log}
    assert kinds == {"start", "stop", "touch", "bounce", "leave", "enter", "appear", "vanish"}
    assert {one.motion for things, _ in drawn for one in things} == set(MOTIONS)
    for _, moved in drawn:
        times = [entry.time_s for entry in moved.log]
        assert times == sorted(times)
        assert all(0 < time <= END_S for time in times)


def test_things_have_colours_of_their_own_and_begin_apart(
    drawn: list[tuple[tuple[Thing, ...], Moved]],
) -> None:
    for things, _ in drawn:
        assert len({one.colour for one in things}) == len(things) >= 1
        for number, one in enumerate(things):
            for other in things[:number]:
                if "enter" not in (one.motion, other.motion):
                    gap = np.hypot(*np.subtract(one.place, other.place)) - one.radius - other.radius
                    assert gap > 0


def test_who_starts_one_after_the_other_does_so_clearly(
    drawn: list[tuple[tuple[Thing, ...], Moved]],
) -> None:
    for things, _ in drawn:
        times = sorted(one.time_s for one in things if one.motion == "late")
        if len(times) > 1 and all(one.motion in ("late", "rest") for one in things):
            assert min(np.diff(times)) > 0.5
