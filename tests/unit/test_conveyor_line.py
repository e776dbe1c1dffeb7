"""Parts on belts: single files, gates, stops, the arm, and who overtakes whom."""

from __future__ import annotations

import numpy as np
import pytest

from vidapt.worlds.conveyor.clips import is_clear
from vidapt.worlds.conveyor.line import (
    BELT_WIDTH,
    COLOURS,
    END_S,
    FPS,
    FRAMES,
    HEIGHT,
    SEAM_M,
    SIZES,
    SOUND,
    WIDTH,
    belt_centres,
)
from vidapt.worlds.conveyor.physics import Ran, run
from vidapt.worlds.conveyor.plan import Belt, Incident, Part, Plan, draw


def part(colour: str, start: float, belt: int = 0, size: str = "small") -> Part:
    return Part(colour, "disc", size, SOUND, belt, start, 0.0)


def two_belts(*parts: Part, incidents: tuple[Incident, ...] = (), second: int = 1) -> Plan:
    """An upper belt to the right at 0.5 m/s and a lower one at 0.3 m/s."""
    return Plan((Belt(1, 0.5), Belt(second, 0.3)), parts, incidents)


def log(ran: Ran) -> list[tuple[str, int, int]]:
    return [(entry.kind, entry.first, entry.second) for entry in ran.log]


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Plan, Ran]]:
    plans = [draw(np.random.default_rng([7, k]), COLOURS) for k in range(150)]
    return [(plan, run(plan)) for plan in plans]


def test_a_part_goes_with_its_belt_and_is_told_when_it_comes_and_leaves() -> None:
    ran = run(two_belts(part("red", -0.25), part("blue", 1.5)))
    np.testing.assert_allclose(ran.places[:, 0, 0], -0.25 + 0.5 * np.arange(FRAMES) / FPS, atol=1e-9)
    assert (ran.places[:, 0, 1] == belt_centres(2)[0]).all()
    assert log(ran) == [("enter", 0, 0), ("leave", 1, 0)]
    assert [entry.time_s for entry in ran.log] == pytest.approx([0.5, 1.0], abs=0.03)
    assert not ran.seen[0, 0]
    assert ran.seen[10, 0]
    assert not ran.seen[-1, 1]


def test_a_belt_to_the_left_carries_from_the_right_edge() -> None:
    ran = run(two_belts(part("red", 0.2, belt=1), second=-1))
    assert ran.places[0, 0, 0] == pytest.approx(WIDTH - 0.2)
    assert ran.places[-1, 0, 0] == pytest.approx(WIDTH - 0.2 - 0.3 * END_S)
    assert ran.moved[-1] == pytest.approx([0.5 * END_S, -0.3 * END_S])


def test_a_stop_holds_all_parts_of_the_belt_until_it_ends() -> None:
    stop = Incident("stop", 0, begin_s=1.0, end_s=2.0)
    ran = run(two_belts(part("red", 0.2), part("blue", 0.4, belt=1), incidents=(stop,), second=-1))
    assert log(ran) == [("stop", 0, -1), ("start", 0, -1)]
    assert np.ptp(ran.places[11:20, 0, 0]) == 0
    assert ran.places[-1, 0, 0] == pytest.approx(0.2 + 0.5 * (END_S - 1.0), abs=0.02)
    assert (np.diff(ran.places[:, 1, 0]) < 0).all()


def test_a_gate_holds_a_part_and_the_next_one_runs_into_it() -> None:
    gate = Incident("gate", 0, place=1.0, begin_s=0.2, end_s=9.0)
    first, second = part("red", 0.6), part("blue", 0.2, size="large")
    ran = run(two_belts(first, second, incidents=(gate,)))
    assert log(ran) == [("hold", 0, 0), ("touch", 1, 0)]
    assert ran.places[-1, 0, 0] == pytest.approx(1.0 - first.radius)
    assert ran.places[-1, 0, 0] - ran.places[-1, 1, 0] == pytest.approx(first.radius + second.radius)
    assert np.isnan(ran.gates[:2, 0]).all()
    assert (ran.gates[3:, 0] == 1.0).all()


def test_a_gate_does_not_close_on_a_part_and_lets_go_when_it_opens() -> None:
    gate = Incident("gate", 0, place=0.5, begin_s=0.0, end_s=1.5)
    ran = run(two_belts(part("red", 0.5), part("blue", 0.2), incidents=(gate,)))
    assert log(ran) == [("hold", 1, 0), ("leave", 0, 0)]
    assert ran.places[-1, 1, 0] == pytest.approx(0.5 - SIZES["small"] + 0.5 * (END_S - 1.5), abs=0.03)


def test_a_part_that_falls_lies_beside_its_belt() -> None:
    fall = Incident("fall", 0, part=0, place=0.8)
    ran = run(two_belts(part("red", 0.4), part("blue", -0.2), incidents=(fall,)))
    assert log(ran) == [("enter", 1, 0), ("fall", 0, 0)]
    assert ran.log[1].time_s == pytest.approx(0.8, abs=0.03)
    assert ran.places[-1, 0, 0] == pytest.approx(0.8, abs=0.02)
    assert ran.places[-1, 0, 1] - belt_centres(2)[0] > BELT_WIDTH / 2
    assert ran.angles[-1, 0] > 1
    assert ran.places[-1, 1, 0] == pytest.approx(-0.2 + 0.5 * END_S, abs=0.02)


def test_the_arm_pushes_a_part_onto_the_next_belt_which_takes_it_along() -> None:
    push = Incident("push", 0, part=0, place=1.2)
    ran = run(two_belts(part("red", 1.0), incidents=(push,), second=-1))
    assert log(ran) == [("push", 0, 1)]
    landed = round(ran.log[0].time_s * FPS) + 1
    assert ran.places[-1, 0, 1] == pytest.approx(belt_centres(2)[1])
    assert ran.places[-1, 0, 0] < ran.places[landed, 0, 0]
    shown = ~np.isnan(ran.arm[:, 0])
    assert shown.sum() > 8
    assert not shown[0]
    assert not shown[-1]


def test_a_part_that_the_arm_picks_goes_out_with_it() -> None:
    pick = Incident("pick", 1, part=0, place=0.6)
    ran = run(two_belts(part("red", 0.4, belt=1), incidents=(pick,)))
    assert log(ran) == [("pick", 0, 1)]
    gone = int(np.flatnonzero(ran.seen[:, 0])[-1])
    assert ran.places[gone, 0, 1] < belt_centres(2)[1] - 0.2
    assert not ran.seen[-1, 0]


def test_nothing_is_pushed_onto_another_part() -> None:
    push = Incident("push", 0, part=0, place=0.6)
    ran = run(two_belts(part("red", 0.4), part("blue", 0.55, belt=1), incidents=(push,)))
    assert "push" not in {kind for kind, _, _ in log(ran)} or ran.log[0].time_s > 1.0
    for frame in range(FRAMES):
        apart = np.abs(ran.places[frame, 0] - ran.places[frame, 1])
        assert apart[0] > 0.1 or apart[1] > 0.1


def test_the_faster_of_two_belts_overtakes_only_if_both_run_the_same_way() -> None:
    parts = part("red", 0.3), part("blue", 0.5, belt=1)
    assert log(run(two_belts(*parts))) == [("overtake", 0, 1), ("leave", 0, 0)]
    assert log(run(two_belts(*parts, second=-1))) == [("leave", 0, 0)]


def test_the_log_is_in_order_of_time_and_ends_with_the_clip(drawn: list[tuple[Plan, Ran]]) -> None:
    seen = set()
    for _, ran in drawn:
        times = [entry.time_s for entry in ran.log]
        assert times == sorted(times)
        assert all(0 < time <= END_S for time in times)
        seen |= {entry.kind for entry in ran.log}
    assert seen == {"enter", "leave", "stop", "start", "hold", "touch", "fall", "push", "pick", "overtake"}


def test_parts_in_single_file_never_overlap(drawn: list[tuple[Plan, Ran]]) -> None:
    for plan, ran in drawn:
        centres = np.array(belt_centres(len(plan.belts)))
        for frame in range(0, FRAMES, 3):
            for a in range(len(plan.parts)):
                for b in range(a):
                    pa, pb = ran.places[frame, a], ran.places[frame, b]
                    on_belt = pa[1] == pb[1] and pa[1] in centres
                    if on_belt and ran.seen[frame, a] and ran.seen[frame, b]:
                        apart = plan.parts[a].radius + plan.parts[b].radius
                        assert abs(pa[0] - pb[0]) > apart - 1e-6


def test_whatever_is_planned_has_one_part_of_a_colour_and_one_on_each_belt(
    drawn: list[tuple[Plan, Ran]],
) -> None:
    for plan, _ in drawn:
        colours = [one.colour for one in plan.parts]
        assert len(set(colours)) == len(colours)
        assert {one.belt for one in plan.parts} == set(range(len(plan.belts)))
        assert len({belt.speed for belt in plan.belts}) == len(plan.belts)
        # Between two of 18 frames no belt moves so far that its seams could seem to run backwards.
        assert max(belt.speed for belt in plan.belts) * END_S / 18 < SEAM_M / 2


def test_clear_clips_show_every_part_for_a_second_and_none_half_out_at_the_end(
    drawn: list[tuple[Plan, Ran]],
) -> None:
    clear = [(plan, ran) for plan, ran in drawn if is_clear(plan, ran)]
    assert 0.5 < len(clear) / len(drawn) < 1
    for plan, ran in clear:
        assert (ran.seen.sum(0) >= FPS).all()
        for number, one in enumerate(plan.parts):
            x = ran.places[-1, number, 0]
            if ran.seen[-1, number]:
                assert min(abs(x), abs(x - WIDTH)) > 0.7 * one.radius


def test_the_arm_never_leaves_the_picture_and_rests_unless_it_has_work(drawn: list[tuple[Plan, Ran]]) -> None:
    for plan, ran in drawn:
        works = any(one.kind in ("push", "pick") for one in plan.incidents)
        tips = ran.arm[~np.isnan(ran.arm[:, 0]), 1]
        assert works or not len(tips)
        assert ((tips > -0.3) & (tips < HEIGHT + 0.3)).all()
