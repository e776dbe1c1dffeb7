"""What matching tells: tables, shares, and what is left out of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError
from vidapt.inference.match import match, shares
from vidapt.inference.match_set import match_set
from vidapt.labelling.cases import Case
from vidapt.nouns import Clip


class Lengths:
    """Scores a statement by its letters; what has a `!` cannot be read."""

    name, unit, sharpness, cosines = "lengths", "letters", 0.5, False

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def watch(self, clips: Sequence[Clip], workers: int) -> Iterator[Any]:
        yield from clips

    def unreadable(self, statements: Sequence[str]) -> dict[str, str]:
        return {text: "is too loud" for text in statements if "!" in text}

    def scores(self, seen: Clip, statements: Sequence[str]) -> list[float]:
        self.asked.append(list(statements))
        return [float(len(text)) for text in statements]


def case(clip: Clip, true: Sequence[str], false: Sequence[str], kind: str = "") -> Case:
    return Case(clip.id, clip, tuple(true), tuple(false), kind)


def test_a_clips_statements_are_told_with_scores_shares_and_which_are_false() -> None:
    found = match(Lengths(), Path("a.mp4"), ["abcd", "ab"], ["abc"])
    assert [(one.text, one.true) for one in found.statements] == [
        ("abcd", True),
        ("ab", True),
        ("abc", False),
    ]
    assert found.margin == -1.0
    assert found.rows() == [
        ["abcd", "4.000", "0.506"],
        ["ab", "2.000", "0.186"],
        ["(false) abc", "3.000", "0.307"],
    ]
    assert (found.clip, found.model, found.unit) == ("a.mp4", "lengths", "letters")
    assert found.to_dict()["statements"][2]["true"] is False
    with pytest.raises(ConfigError, match="statement 'no!': is too loud"):
        match(Lengths(), Path("a.mp4"), ["abc"], ["no!"])


def test_shares_of_scores_far_apart_are_still_numbers() -> None:
    assert shares([-1e6, 1e6], 1.0) == [0.0, 1.0]
    assert sum(shares([1.0, 2.0, 3.0], 7.0)) == pytest.approx(1.0)


def test_a_set_leaves_out_what_cannot_be_read_and_asks_each_text_of_a_clip_once() -> None:
    first, second = Clip("a", Path("a")), Clip("a late", Path("a"), 1.0)
    matcher = Lengths()
    heard: list[tuple[Any, ...]] = []
    cases = [
        case(first, ["abc", "loud!"], ["ab"], "x"),
        case(first, ["abc"], ["ab", "abcd"]),
        case(second, ["abc"], ["hey!"], "y"),
    ]
    found = match_set(matcher, cases, workers=0, report=lambda *told: heard.append(told))
    assert matcher.asked == [["abc", "ab", "abcd"], ["abc"]]
    assert (found.clips, found.unreadable) == (2, {"loud!": "is too loud", "hey!": "is too loud"})
    assert found.all is not None
    assert (found.all.pairs, found.all.wins.value, found.all.margin.value) == (3, pytest.approx(2 / 3), 0.0)
    assert list(found.kinds) == ["x"]
    assert found.longer is None
    assert heard == [("match", 1, 2), ("match", 2, 2)]
    (whole, kind) = found.rows()
    assert (whole[0], whole[1], whole[2], whole[4]) == ("all", "3", "0.667", "0.000")
    assert (kind[0], kind[1], kind[2]) == ("x", "1", "1.000")
    assert found.retrieval_rows() == []
    told = found.to_dict()
    assert (told["retrieval"], told["dual_softmax"], told["longer"]) == (None, None, None)


def test_rows_of_retrieval_are_recalls_and_ranks_both_ways() -> None:
    cases = [case(Clip("a", Path("a")), ["abc"], []), case(Clip("b", Path("b")), ["ab"], [])]
    found = match_set(Lengths(), cases, with_retrieval=True, workers=0)
    # Both clips like the longer text better, and each text likes both clips alike.
    assert found.retrieval_rows() == [
        ["text from clip", "0.500", "1.000", "1.000", "1.5", "1.50"],
        ["clip from text", "0.500", "1.000", "1.000", "1.5", "1.50"],
    ]
