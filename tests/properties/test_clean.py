"""What is cleaned stays as it is, and the order of rows decides nothing."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

from clean_tools import row, rows_of, run, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.cleaning.checks.broken_json import Part
from vidapt.cleaning.labels import Label

COLOURS = ("red", "blue", "green", "white")
SENTENCES = st.tuples(st.sampled_from(COLOURS), st.sampled_from(COLOURS), st.integers(1, 3)).map(
    lambda told: f"The {told[0]} ball hits the {told[1]} ball and rolls to the left cushion. " * told[2]
)
ANSWERS = st.one_of(
    SENTENCES,
    st.sampled_from(COLOURS),
    st.sampled_from(["yes", "no"]),
    st.text(max_size=40).filter(lambda text: text.strip() and "<" not in text),
    st.just("I'm sorry, but I can't help with that."),
    st.just("Die Kugel ist rot und rollt in die Tasche."),
    st.just('{"a": [1, 2'),
    st.just("ball " * 12),
)
QUESTIONS = st.sampled_from(["describe the video.", "which ball?", "is it red?"])
ROWS = st.lists(st.tuples(st.integers(0, 6), QUESTIONS, ANSWERS), min_size=1, max_size=40)
TIGHT = (
    "checks.length.least=4",
    "checks.length.times=1.5",
    "checks.near_duplicate.most=2",
    "checks.near_duplicate.alike=0.7",
    "checks.blind.least=2",
    "checks.blind.above=0.6",
)
"""So that checks that look at the whole set have their say about few rows."""


def made(rows: list[tuple[int, str, str]]) -> list[dict[str, object]]:
    return [
        row(f"row{n}", answer, question, video=f"{clip}.mp4")
        for n, (clip, question, answer) in enumerate(rows)
    ]


@settings(max_examples=25, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_clean_labels_stay_and_the_order_of_rows_decides_nothing(
    drawn: list[tuple[int, str, str]], dice: object
) -> None:
    rows = made(drawn)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = folder / "once.jsonl"
        found = run(write_rows(folder / "labels.jsonl", rows), once, *TIGHT).summary
        assert found.kept + found.dropped == found.rows == len(rows)
        assert len(rows_of(folder / "once.rejected.jsonl")) == found.dropped + found.rewritten
        numbers = (folder / "once.clean.json").read_bytes()
        run(folder / "labels.jsonl", once, *TIGHT)
        assert (folder / "once.clean.json").read_bytes() == numbers

        turned = list(rows)
        dice.shuffle(turned)  # type: ignore[attr-defined]
        run(write_rows(folder / "turned.jsonl", turned), folder / "other.jsonl", *TIGHT)
        by_id = {one["id"]: one for one in rows_of(folder / "other.jsonl")}
        assert by_id == {one["id"]: one for one in rows_of(once)}

        if found.kept:
            again = run(once, folder / "again.jsonl", *TIGHT).summary
            assert (again.dropped, again.rewritten, again.rounds) == (0, 0, 1)
            assert (folder / "again.jsonl").read_bytes() == once.read_bytes()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=4), st.data())
def test_mended_json_holds_nothing_that_was_not_there(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cut = text[: data.draw(st.integers(2, len(text)))]
    check = Part(Part.Config())
    from clean_tools import sample

    (verdict,) = check.judge([Label(sample("a", cut), 1)])
    if cut == text:
        assert verdict.outcome == "keep"
    elif verdict.outcome == "rewrite":
        mended = json.loads(verdict.text)
        assert within(mended, value)
        (again,) = check.judge([Label(sample("a", verdict.text), 1)])
        assert again.outcome == "keep"


def within(part: object, whole: object) -> bool:
    """Whether a value is another one of which only the end is missing."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and within(inner, whole[key]) for key, inner in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(itertools.starmap(within, zip(part, whole, strict=False)))
    return part == whole or (isinstance(part, int) and str(whole).startswith(str(part)))
