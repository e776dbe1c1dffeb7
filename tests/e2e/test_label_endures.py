"""`vidapt label` with a teacher that often fails, killed on the way, within a budget: a small benchmark."""

from __future__ import annotations

from pathlib import Path

from label_tools import teacher

import label as endurance
from _bad_teacher import BadTeacher, mark, number_of, paid_twice

CLIPS, KILLS = 16, 2


def silent(text: str) -> None:
    """Say nothing."""


def test_nothing_is_lost_repeated_or_overspent(tmp_path: Path) -> None:
    found = endurance.endure(tmp_path, CLIPS, KILLS, seed=1, tell=silent)
    assert (found["killed"], found["status_under_budget"], found["status"]) == (KILLS, 2, 0)
    assert found["labelled"] + found["quarantined"] == CLIPS
    assert (found["labelled_twice"], found["without_either"], found["with_both"]) == (0, 0, 0)
    assert (found["keys_kept_twice"], found["asked_again_although_kept"], found["left"]) == (0, 0, [])
    assert 0 <= found["answers_lost_at_kills"] <= KILLS * endurance.CONCURRENCY
    assert max(found["spent_under_budget"]) <= found["budget"] + found["most_under_way"]
    assert sum(found["wrong"].values()) > 0
    assert found["requests"] == found["answers_sent"] + sum(
        count for what, count in found["wrong"].items() if what not in ("broken answer", "cut off")
    )


def test_the_count_would_see_what_is_paid_twice() -> None:
    bad = BadTeacher(teacher, shares={})
    bad.sent = {"one": [3, 8], "two": [5], "three": [4, 9]}
    assert paid_twice(bad, {8, 5, 9}) == []
    assert paid_twice(bad, {3, 5, 9}) == ["one"]
    assert [number_of(f"a\nb\n{mark(number)}") for number in (1, 6, 250)] == [1, 6, 250]
