"""Each claim of a text is checked against the whole log."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vidapt.worlds.conveyor import STYLES, Claim, Event, Record, false_statements, judge, load_records, parse
from vidapt.worlds.conveyor.claims import changeable, falsify, holds, story, true_claims
from vidapt.worlds.conveyor.events import Running, Seen

BUSY = Record(
    4,
    "works",
    (Running("upper", "right", 0.5), Running("lower", "left", 0.3)),
    (
        Seen("red", "disc", "large", "none", "upper"),
        Seen("blue", "ring", "small", "scratch", "upper"),
        Seen("green", "bar", "small", "none", "lower"),
    ),
    ("red", "blue", "green", "white"),
    (
        Event(0.4, "enter", "blue ring", "upper"),
        Event(1.0, "hold", "red disc", "upper"),
        Event(1.6, "touch", "blue ring", "red disc"),
        Event(2.0, "leave", "green bar", "lower"),
        Event(2.4, "push", "red disc", "lower"),
        Event(2.8, "stop", "upper"),
    ),
)
QUIET = Record(
    5,
    "works",
    (Running("middle", "left", 0.5),),
    (Seen("white", "cross", "large", "none", "middle"),),
    ("red", "white"),
    (),
)

TRUE = [
    "the blue ring comes in on the upper belt",
    "a gate holds the red disc",
    "the blue ring runs into the red disc",
    "the green bar leaves on the lower belt",
    "the arm pushes the red disc onto the lower belt",
    "the upper belt stops",
    "the red disc rides on the upper belt",
    "the red part rides on the lower belt",
    "the blue ring has a scratch",
    "the green bar is without a defect",
    "the red disc is large",
    "there is no white ring",
    "there is no red ring",
    "the upper belt is the fastest",
    "the lower belt runs to the left",
    "three parts come by",
    "3 parts come by",
    "two belts are in the picture",
    "no part falls off",
    "the green bar is the first to leave",
    "the red puck is shoved into the near lane",
    "blue washer hits red button from behind",
    "the blue hoop shows a line across it",
    "track top halts",
]
FALSE = [
    "the blue ring comes in on the lower belt",
    "a gate holds the blue ring",
    "the red disc runs into the blue ring",
    "the arm pushes the red disc onto the upper belt",
    "the arm pushes the red ring onto the lower belt",
    "the lower belt stops",
    "the upper belt starts again",
    "the blue ring has a missing corner",
    "the blue ring is without a defect",
    "the red disc is small",
    "there is no red disc",
    "there is no red part",
    "the lower belt is the fastest",
    "the upper belt runs to the left",
    "four parts come by",
    "no part has a defect",
    "no part runs into another",
    "the arm does nothing",
    "everything runs without incident",
    "the red disc is the first to leave",
    "the red disc overtakes the green bar",
    "the white cross falls off its belt",
    "the robot is at rest",
]


@pytest.mark.parametrize("sentence", TRUE)
def test_a_sentence_that_the_log_bears_out_is_true(sentence: str) -> None:
    verdict = judge(f"{sentence.capitalize()}.", BUSY)
    assert (len(verdict.supported), verdict.false, verdict.unparsed) == (1, (), ())


@pytest.mark.parametrize("sentence", FALSE)
def test_a_sentence_that_the_log_contradicts_is_false(sentence: str) -> None:
    verdict = judge(f"{sentence}.", BUSY)
    assert (verdict.supported, len(verdict.false), verdict.unparsed) == ((), 1, ())


@pytest.mark.parametrize(
    "sentence", ["the red disc", "the arm pushes", "a ball rolls", "the pink disc is large"]
)
def test_what_is_no_claim_is_set_aside_and_costs_precision(sentence: str) -> None:
    verdict = judge(f"{sentence}. a gate holds the red disc", BUSY)
    assert verdict.unparsed == (sentence,)
    assert verdict.precision == 0.5


def test_claims_joined_by_and_are_told_apart_and_link_words_do_not_matter() -> None:
    claims = [Claim("stop", "upper"), Claim("hold", "red disc")]
    assert parse("The upper belt stops and a gate holds the red disc") == (claims, [])
    assert parse("then, the upper belt  stops!\nFinally a gate holds the red one;") == (
        [claims[0], Claim("hold", "red ")],
        [],
    )
    assert parse("the blue ring has a patch of the wrong color")[0] == [Claim("flaw", "blue ring", "patch")]


def test_recall_counts_told_facts_once_whatever_their_words() -> None:
    text = (
        "a gate holds the red part. red button waits at a bar across the track. the far lane comes to a halt."
    )
    verdict = judge(text, BUSY)
    assert verdict.recalled == (Claim("hold", "red disc"), Claim("stop", "upper"))
    assert verdict.recall == pytest.approx(2 / 6)
    assert verdict.precision == 1.0
    assert judge(" ... ", BUSY).recall == 0.0


def test_what_a_full_description_tells_is_the_log_in_order() -> None:
    assert [claim.kind for claim in story(BUSY)] == ["enter", "hold", "touch", "leave", "push", "stop"]
    assert [claim.kind for claim in story(BUSY, limit=4)] == ["hold", "touch", "push", "stop"]
    assert story(QUIET) == [Claim("rides", "white cross", "middle")]


def test_a_quiet_clip_supports_the_sentences_about_that() -> None:
    verdict = judge(
        "nothing unusual occurs. the robot is at rest. no track halts. all pieces are in order.", QUIET
    )
    assert len(verdict.supported) == 4
    assert judge("the middle belt is the fastest.", QUIET).supported == ()


@pytest.mark.parametrize("record", [BUSY, QUIET], ids=["busy", "quiet"])
def test_a_changed_claim_is_false_of_the_same_kind_and_differs_in_one_word(record: Record) -> None:
    truth, rng = true_claims(record), np.random.default_rng(0)
    for claim in changeable(record):
        assert holds(claim, record, truth)
        for _ in range(8):
            wrong = falsify(claim, record, rng)
            assert wrong is not None
            assert not holds(wrong, record, truth)
            assert wrong.kind == claim.kind
            assert (wrong.subject != claim.subject) + (wrong.where != claim.where) == 1


def test_false_statements_are_many_and_all_false() -> None:
    wrong = false_statements(BUSY, np.random.default_rng(1), 12)
    assert len(set(wrong)) == 12
    for claim in wrong:
        for style in STYLES.values():
            assert judge(f"{claim.say(style)}.", BUSY).false == (claim,)


def test_records_survive_json_and_a_broken_line_is_named(tmp_path) -> None:
    from vidapt.errors import FormatError

    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(record.to_json()) + "\n" for record in (BUSY, QUIET)))
    assert load_records(path) == [BUSY, QUIET]
    path.write_text(json.dumps(BUSY.to_json()) + "\n" + json.dumps(BUSY.to_json()).replace("push", "fly"))
    with pytest.raises(FormatError, match=r"events\.jsonl:2(.|\n)*fly"):
        load_records(path)
