"""What counts as a letter, and as yes or no; readings that other tools get wrong stand among the examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.metrics.protocols._read import option_of, yes_or_no

OPTIONS = ["a green cue", "the red ball", "nothing"]


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("A", 0),
        ("a", 0),
        ("(b)", 1),
        ("B.", 1),
        ("**C**", 2),
        ("B. the red ball", 1),
        ("(B) the red ball", 1),
        ("The answer is (A)", 0),
        ("The answer is A.", 0),
        ("Answer: C", 2),
        ("I would say option B, since it is red.", 1),
        ("The answer is (A), not (B).", 0),
        ("the red ball", 1),
        ("The red ball.", 1),
        ("A green cue", 0),
        ("I think it is (c).", 2),
        ("", None),
        (")", None),
        ("()", None),
        ("a red ball", None),
        ("A blue ball rolls", None),
        ("The answer is a red ball", None),
        ("A or B", None),
        ("(A) or (B)", None),
        ("D", None),
        ("Option Z", None),
        ("the ball is red", None),
    ],
)
def test_a_letter_is_read_where_one_is_chosen(said: str, chosen: int | None) -> None:
    assert option_of(said, OPTIONS) == chosen


@pytest.mark.parametrize(
    ("said", "yes"),
    [
        ("yes", True),
        ("Yes, it does.", True),
        ("Yes, no ball is there", True),
        ("No.", False),
        ("no, there is none", False),
        ("The answer is yes.", True),
        ("**No**", False),
        ("", None),
        ("yes or no", None),
        ("Yes/No", None),
        ("yes and no", None),
        ("No yes", None),
        ("Is there a ball? Answer yes or no.", None),
        ("oui", None),
        ("ja", None),
        ("nothing happens", None),
        ("not at all", None),
        ("yesterday", None),
    ],
)
def test_yes_and_no_are_read_where_one_is_said(said: str, yes: bool | None) -> None:
    assert yes_or_no(said) is yes


@given(st.text(max_size=60))
def test_any_text_is_read_without_harm(said: str) -> None:
    found = option_of(said, OPTIONS)
    assert found is None or 0 <= found < len(OPTIONS)
    assert yes_or_no(said) in (True, False, None)


@given(st.integers(0, 2), st.sampled_from(["{}", "({})", "{}.", "The answer is {}.", "Answer: ({})"]))
def test_every_letter_is_read_in_every_dress(place: int, dress: str) -> None:
    assert option_of(dress.format("ABC"[place]), OPTIONS) == place
