"""Where two prompts, and two answers, first differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vidapt.measure.prompt_ids import (
    Difference,
    Visual,
    answer_difference,
    pads_of,
    prompt_difference,
    theirs,
)

TOKENIZER: Any = SimpleNamespace(decode=lambda ids, skip_special_tokens: "".join(chr(one) for one in ids))
PAD = 200
LONG = "...234567 [{}] bcdefg..."
"""Of what is longer than what is shown on either side."""


def ids(text: str) -> list[int]:
    """Letters, with a pad for every `#`."""
    return [PAD if letter == "#" else ord(letter) for letter in text]


def difference(one: str, other: str) -> Difference | None:
    return prompt_difference(theirs(ids(one), {PAD}, 256), theirs(ids(other), {PAD}, 256), TOKENIZER)


@pytest.mark.parametrize(
    ("pads", "given", "wanted"),
    [
        ({PAD}, [65, PAD, PAD, 66], [65, Visual(2), 66]),
        ({PAD}, [65, 66, 66, PAD], [65, 66, 66, Visual(1)]),
        ({PAD, 201}, [PAD, PAD, 201], [Visual(3)]),
        (set(), [65, 66, 66, 7, 7, 7], [65, 66, 66, Visual(3)]),
        (set(), [65, 66], [65, 66]),
        ({PAD}, [65, 300, 999_999_999, 66], [65, Visual(2), 66]),
        ({PAD}, [None, 66], [None, 66]),
    ],
)
def test_visual_tokens_are_known_by_their_pad(pads: set[int], given: list[Any], wanted: list[Any]) -> None:
    assert theirs(given, pads, 256) == wanted


def test_equal_prompts_do_not_differ_and_what_is_not_told_counts_as_equal() -> None:
    assert difference("a###b", "a###b") is None
    assert prompt_difference([65, 66], [None, 66], TOKENIZER) is None


@pytest.mark.parametrize(
    ("one", "other", "at", "ours", "served"),
    [
        ("a<###>b", "a<<###>>b", 2, "a< [<3 visual tokens>] >b", "a< [60 '<'] <3 visual tokens>>>b"),
        ("<###> it", "<####> it", 1, "< [<3 visual tokens>] > it", "< [<4 visual tokens>] > it"),
        ("<##>ab", "<##>ac", 5, "<<2 visual tokens>>a [98 'b'] ", "<<2 visual tokens>>a [99 'c'] "),
        ("ab", "abc", 2, "ab [the end] ", "ab [99 'c'] "),
        ("1234567abcdefg8", "1234567Abcdefg8", 7, LONG.format("97 'a'"), LONG.format("65 'A'")),
        ("a\x1bb", "a\x1bc", 2, "a\\x1b [98 'b'] ", "a\\x1b [99 'c'] "),
    ],
)  # fmt: skip
def test_the_first_difference_is_told_with_what_stands_around(
    one: str, other: str, at: int, ours: str, served: str
) -> None:
    assert difference(one, other) == Difference("prompt", at, ours, served)


def test_answers_differ_from_a_letter_on() -> None:
    assert answer_difference(" a ball\n", "a ball") is None
    found = answer_difference("x" * 60 + "red ball", "x" * 60 + "blue ball")
    assert found == Difference(
        "answer", 60, "..." + "x" * 40 + "[red ball]", "..." + "x" * 40 + "[blue ball]"
    )
    assert answer_difference("a", "ab") == Difference("answer", 1, "a[]", "a[b]")
    assert "letter 60" in found.line()


def test_pads_are_those_of_the_published_configuration() -> None:
    config = {"image_token_id": 7, "video_token_index": 8, "video_token_id": None, "vision_start_token_id": 9}
    engine: Any = SimpleNamespace(model=SimpleNamespace(origin=SimpleNamespace(read=lambda name: config)))
    assert pads_of(engine) == {7, 8}
    engine.model.origin = None
    assert pads_of(engine) == set()
