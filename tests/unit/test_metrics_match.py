"""Which answers count as right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.match import is_match, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The\tRED\n ball. ", "the red ball"),
        ('"Yes".', "yes"),
        ("'“Yes!!”'...", "yes"),
        ("１２ ﬁnal", "12 final"),
        ("No, the rack was not opened.", "no the rack was not opened"),
        ("red. blue ; green , , pink", "red blue green pink"),
        ("1.5", "1.5"),
        ("don't", "don't"),
        ("the 'red' ball", "the 'red' ball"),
        ("'red' or 'blue'", "red' or 'blue"),
        ("好。", "好"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_only_what_changes_no_answer_is_dropped(text: str, expected: str) -> None:
    assert normalise(text) == expected


@settings(deadline=None)
@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@settings(deadline=None)
@given(st.text(alphabet="abc .'\"!", min_size=1, max_size=12))
def test_case_padding_and_a_full_stop_never_matter(text: str) -> None:
    assert normalise(f"  {text.upper()} ") == normalise(text)
    if text.strip(" .!'\""):
        assert is_match(f"{text}.", ["other", text])


def test_empty_prediction_matches_nothing() -> None:
    assert not is_match("", [""])
    assert not is_match(" ", ["a"])
    assert not is_match("red ball", ["red", "ball"])


@pytest.mark.parametrize("accept", [[], "red"])
def test_accepted_answers_must_be_a_list_of_some(accept: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        is_match("red", accept)
