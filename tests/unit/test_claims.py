"""Texts as claims: clauses cover a text; texts without some of them; columns of another text are refused."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.claims import Claim, clauses, read_claims, refit, renumbered, replaced, sentence_spans, without
from vidapt.errors import FormatError
from vidapt.formats import open_samples, single_questions
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Clip, Sample, Turn

WORDS = ["the", "red", "ball", "hits", "and", "then", "before", "Ein", "猫が", "3.5", "Dr", "while", "yes"]
JOINS = [" ", ", ", ". ", "; ", "! ", "\n", "。", " and then ", ", and "]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(JOINS)), max_size=25).map(
        lambda pairs: "".join(word + join for word, join in pairs)
    ),
)


@given(TEXTS)
def test_clauses_are_the_text_in_order(text: str) -> None:
    for spans in (clauses(text), sentence_spans(text)):
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(start < end for start, end in spans)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))


@given(TEXTS, st.data())
def test_what_is_left_holds_words_that_were_there(text: str, data: st.DataObject) -> None:
    spans = clauses(text)
    gone = data.draw(st.sets(st.sampled_from(range(len(spans))))) if spans else set()
    left = without(text, spans, gone)
    assert without(text, spans, set()) == text
    if len(gone) == len(spans) and spans:
        assert left == ""
    else:
        assert set(re.findall(r"\w", left.lower())) <= set(re.findall(r"\w", text.lower()))
        kept = [text[slice(*spans[at])].strip(" ,.;!。\n") for at in range(len(spans)) if at not in gone]
        assert all(re.sub(r"\W", "", core)[-3:].lower() in re.sub(r"\W", "", left).lower() for core in kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes, it is there.", ["yes, it is there."]),
        (
            "The black ball drops into the pocket and the orange ball stays near the rail.",
            ["The black ball drops into the pocket", " and the orange ball stays near the rail."],
        ),
        ("the red and the blue ball roll away", ["the red and the blue ball roll away"]),
        ("it hits green before any other.", ["it hits green before any other."]),
        (
            "The man opens a door, then he sits on a chair. It is dark.",
            ["The man opens a door,", " then he sits on a chair. ", "It is dark."],
        ),
        ("about 3.5 m of rope lie there; a dog barks", ["about 3.5 m of rope lie there; ", "a dog barks"]),
        ("猫が走る。犬が寝る。", ["猫が走る。", "犬が寝る。"]),
    ],
)
def test_clauses_follow_the_stated_rule(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in clauses(text)] == expected


def test_a_text_without_a_clause_is_a_sentence() -> None:
    text = "The man opens a door, then he sits on a chair, and a dog barks at him. It is dark."
    spans = clauses(text)
    assert without(text, spans, {0}) == "He sits on a chair, and a dog barks at him. It is dark."
    assert without(text, spans, {1}) == "The man opens a door, and a dog barks at him. It is dark."
    assert without(text, spans, {2}) == "The man opens a door, then he sits on a chair. It is dark."
    assert without(text, spans, {0, 2}) == "He sits on a chair. It is dark."
    assert without(text, spans, {0, 1, 2}) == "It is dark."
    assert without(text, spans, {3}) == text.removesuffix(" It is dark.")
    assert replaced(text, spans, {0, 1, 2, 3}, "Unclear.") == "Unclear."
    assert replaced(text, spans, {0, 3}, "Unclear.") == (
        "He sits on a chair, and a dog barks at him. Unclear."
    )


def test_a_clause_that_reaches_over_a_sentence_is_one() -> None:
    text = "A door opens. It is red. A dog barks."
    spans = [(0, 24), (24, len(text))]
    assert without(text, spans, {0}) == "A dog barks."
    assert without(text, spans, {1}) == "A door opens. It is red."


def claim(text: str, part: str, turn: int = 1, **more: Any) -> Claim:
    start = text.index(part)
    return Claim(turn, start, start + len(part), part, "kind", more.pop("verdict", "unseen"), **more)


def sample(*said: str, references: tuple[str, ...] = ()) -> Sample:
    turns = tuple(Turn("assistant" if at % 2 else "user", text) for at, text in enumerate(said))
    return Sample("a", (Clip("a.mp4", Path("a.mp4")),), turns, references=references)


TEXT = "it is red. it is 7."
SOUND: dict[str, Any] = {
    "turn": 1,
    "start": 0,
    "end": 11,
    "text": "it is red. ",
    "type": "colour",
    "verdict": "unseen",
    "values": [[6, 9]],
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"end": 99}, "letters 0 to 99 are not in an answer of 19"),
        ({"start": 5, "end": 5}, "letters 5 to 5"),
        ({"text": "it is blue."}, "'it is blue.' stands not there but 'it is red. '"),
        ({"turn": 0}, "no answer at turn 0"),
        ({"turn": 2}, "no answer at turn 2"),
        ({"turn": True}, "'turn' is no whole number"),
        ({"verdict": "maybe"}, "'verdict' is none of supported"),
        ({"values": [[6, 12]]}, "a value stands outside of it"),
        ({"values": [[6]]}, "no list of pairs"),
        ({"lost": "4 frames"}, "'lost' is no list of texts"),
        ({"lost": [4]}, "'lost' is no list of texts"),
        ({"evidence": "much"}, "'evidence' is no number"),
        ({"evidence": float("nan")}, "'evidence' is no number"),
        ({"evidence": 10**400}, "'evidence' is no number"),
        ({"colour": "red"}, "'colour' is an unknown key"),
        ({"type": None}, "'type' is no text"),
    ],
)
def test_claims_of_another_text_are_refused(change: dict[str, Any], told: str) -> None:
    (sound,) = read_claims([SOUND], sample("what?", TEXT))
    assert sound.values == ((6, 9),)
    assert sound.to_dict() == SOUND
    with pytest.raises(ValueError, match=r"^claim 0: ") as error:
        read_claims([{**SOUND, **change}], sample("what?", TEXT))
    assert told in str(error.value)


def test_claims_that_overlap_or_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="claim 1: begins before the one before it ends"):
        read_claims([SOUND, SOUND], sample("what?", TEXT))
    for plain in ({}, "claims", [1], [SOUND] * 10_001):
        with pytest.raises(ValueError, match=r"is no (list|object)"):
            read_claims(plain, sample("what?", TEXT))


def test_the_column_is_read_and_written_and_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    given = replace(
        sample("what?", TEXT), media=(Clip("a.mp4", tmp_path / "a.mp4"),), claims=(claim(TEXT, "it is 7."),)
    )
    write(tmp_path / "labels.jsonl", [given])
    (again,) = open_samples(tmp_path / "labels.jsonl")
    assert again.claims == given.claims
    row = json.loads((tmp_path / "labels.jsonl").read_text())
    row["answer"] = "it is blue now."
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(
        FormatError, match=r"labels.jsonl:1: 'claims': claim 0: (.|\n)*run `vidapt evidence` anew"
    ):
        list(open_samples(tmp_path / "labels.jsonl"))


def test_claims_go_with_their_answers_when_a_conversation_is_taken_apart() -> None:
    whole = sample("a?", "it is 1.", "b?", "it is 2.", references=("it is 3.",))
    claims = (claim("it is 1.", "it is 1."), claim("it is 2.", "2", 3), claim("it is 3.", "3", 4))
    whole = replace(whole, claims=claims, counts=((1, 0, 2, 0.0), (3, 6, 7, 0.5)))
    first, last = single_questions([whole])
    assert [(one.turn, one.text) for one in first.claims] == [(1, "it is 1.")]
    assert first.counts == ((1, 0, 2, 0.0),)
    assert [(one.turn, one.text) for one in last.claims] == [(1, "2"), (2, "3")]
    assert last.counts == ((1, 6, 7, 0.5),)
    assert renumbered(whole, {}).claims == ()


def test_claims_are_found_again_in_a_text_that_lost_a_clause() -> None:
    text = "The man opens a door, then he sits down there. It is dark."
    claims = tuple(
        claim(
            text,
            text[a:b],
            values=((text.index("dark"), text.index("dark") + 4),) if "dark" in text[a:b] else (),
        )
        for a, b in clauses(text)
    )
    now = "He sits down there. It is dark."
    found = refit(claims, 1, now)
    assert [now[one.start : one.end] for one in found] == [one.text for one in found]
    assert found[-1].text == "It is dark"
    assert [now[a:b] for a, b in found[-1].values] == ["dark"]
    assert read_claims([one.to_dict() for one in found], sample("what?", now)) == found


@pytest.mark.parametrize(
    "words", ["red and ", "the red ball hits then ", "the red ball, and ", "it is red.\n"]
)
def test_a_very_long_text_takes_no_longer_than_its_length(words: str) -> None:
    text = words * (400_000 // len(words))
    spans = clauses(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert len(without(text, spans, range(1, len(spans)))) <= spans[0][1] < 100
