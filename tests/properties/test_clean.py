"""What is cleaned stays as it is, and the order of rows decides nothing."""

from __future__ import annotations

import itertools
import json
from random import Random

from clean_tools import sample
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from vidapt.cleaning.checks.broken_json import Part
from vidapt.cleaning.labels import Label
from vidapt.cleaning.pipeline import judge_all
from vidapt.cleaning.settings import read_cleaning

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
ROWS = st.lists(st.tuples(st.integers(0, 6), QUESTIONS, ANSWERS), min_size=1, max_size=24)
TIGHT = (
    "checks.length.least=4",
    "checks.length.times=1.5",
    "checks.near_duplicate.most=2",
    "checks.near_duplicate.alike=0.7",
    "checks.blind.least=2",
    "checks.blind.above=0.6",
)
"""So that checks that look at the whole set have their say about few rows."""


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(ROWS, st.randoms(use_true_random=False))
def test_clean_labels_stay_and_the_order_of_rows_decides_nothing(
    drawn: list[tuple[int, str, str]], dice: Random
) -> None:
    rows = [
        sample(f"row{n}", answer, question, f"{clip}") for n, (clip, question, answer) in enumerate(drawn)
    ]
    checks = read_cleaning(None, TIGHT).opened()
    found = judge_all(rows, {}, checks)
    assert found.kept.keys() | found.fates.keys() == {one.id for one in rows}
    dropped = {key for key, fate in found.fates.items() if fate.now is None}
    assert not dropped & found.kept.keys()

    turned = list(rows)
    dice.shuffle(turned)
    assert judge_all(turned, {}, checks).kept == found.kept

    again = judge_all(found.kept.values(), {}, checks)
    assert (again.kept, again.fates) == (found.kept, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=4), st.data())
def test_mended_json_holds_nothing_that_was_not_there(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cut = text[: data.draw(st.integers(2, len(text)))]
    check = Part(Part.Config())
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
