"""Times in texts are read, measured against the truth, and moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.spans import (
    agreement,
    only_stretch,
    overlap,
    read_stretches,
    shifted,
    stretch_scores,
    written,
)

MOMENTS = st.floats(0, 5000).map(lambda x: round(x, 1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12.4–15.0", [(12.4, 15.0)]),
        ("12.4-15.0 s.", [(12.4, 15.0)]),
        ("from 12 to 15 seconds", [(12, 15)]),
        ("between 12.5 s and 15 s", [(12.5, 15)]),
        ("0:12 - 1:15, then 1:02:03–1:02:04", [(12, 75), (3723, 3724)]),
        ("<3.5 seconds> it falls", [(3.5, 3.5)]),
        ("it falls at 3 s", [(3, 3)]),
        ("around 00:07 it falls", [(7, 7)]),
        ("3-4 balls, 2 to 1, version 1.2.3-1.2.4", []),
        ("it lasts 3 seconds", []),
        ("at 3 balls", []),
        ("15.0–12.4", []),  # runs backwards
        ("12.4\u201115.0, 12.4\u221215.0 s, 12.4\uff5e15.0", [(12.4, 15.0)] * 3),  # as models write it
        ("9" * 400 + ".0–" + "9" * 400 + ".1", []),  # no float holds it
        ("", []),
    ],
)
def test_times_are_told_from_other_numbers(text: str, found: list[tuple[float, float]]) -> None:
    assert read_stretches(text) == found


@pytest.mark.parametrize(
    ("text", "by", "later"),
    [
        ("12.4–15.0", 60, "72.4–75.0"),
        ("the 3 balls fall from 2 to 5 s", 58.5, "the 3 balls fall from 60 to 64 s"),
        ("at 0:58 it falls", 60, "at 1:58 it falls"),
        ("at 00:58 it falls", 3600, "at 1:00:58 it falls"),
        ("<1.5 seconds> a, <2.5 seconds> b", 10, "<11.5 seconds> a, <12.5 seconds> b"),
        ("0:12.5-0:13.5", 0.25, "0:12.8-0:13.8"),
        ("it lasts 3 seconds, 3-4 balls", 60, "it lasts 3 seconds, 3-4 balls"),
        ("3.5–4.5 metres, 1.5 to 2.5 %, 1.0-2.0ms", 60, "3.5–4.5 metres, 1.5 to 2.5 %, 1.0-2.0ms"),
        ("1.0–2.0 my ball falls", 60, "61.0–62.0 my ball falls"),
    ],
)
def test_only_times_are_moved(text: str, by: float, later: str) -> None:
    assert shifted(text, by) == later


@given(MOMENTS, MOMENTS, MOMENTS)
def test_what_is_written_is_read_again_and_moves(one: float, other: float, by: float) -> None:
    stretch = min(one, other), max(one, other)
    text = written(stretch)
    assert only_stretch(text) == stretch
    (moved,) = read_stretches(shifted(text, by))
    assert moved == pytest.approx((stretch[0] + by, stretch[1] + by), abs=0.11)


@given(MOMENTS, MOMENTS, MOMENTS, MOMENTS)
def test_agreement_is_a_share(a: float, b: float, c: float, d: float) -> None:
    one, other = (min(a, b), max(a, b)), (min(c, d), max(c, d))
    assert 0 <= overlap(one, other) == overlap(other, one) <= 1
    assert overlap(one, one) == 1


def test_agreement_by_hand() -> None:
    assert overlap((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert overlap((0, 1), (2, 3)) == 0
    assert agreement("it falls from 1.0 to 3.0 s, and again at 9 s", (1, 2)) == 0.5
    assert agreement("no idea", (1, 2)) == 0


def test_only_a_stretch_alone_is_an_answer_about_time() -> None:
    assert only_stretch(" 1.5–2.0. ") == (1.5, 2.0)
    assert only_stretch("from 1.5 to 2.0 s the ball rolls") is None
    assert only_stretch("at 3 s") is None
    assert only_stretch("3") is None


def test_scores() -> None:
    truths = [(0.0, 2.0), (0.0, 2.0), (0.0, 2.0), (0.0, 2.0)]
    said = ["0.0–2.0", "0.0–1.0", "1.5–3.5", "red"]
    scores = stretch_scores(said, truths, ["a", "a", "b", "c"])
    assert scores.n == 4
    assert scores.overlap.value == pytest.approx((1 + 0.5 + 0.5 / 3.5) / 4)
    assert {at: interval.value for at, interval in scores.recall.items()} == {0.3: 0.5, 0.5: 0.5, 0.7: 0.25}
    assert scores.unread == 0.25
    with pytest.raises(ValueError, match="at least one"):
        stretch_scores([], [], [])
