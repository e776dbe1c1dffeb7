from __future__ import annotations

import json

import numpy as np
import pytest

from vidapt.errors import FormatError
from vidapt.worlds.billiards import Claim, Event, Record, judge, load_records, parse
from vidapt.worlds.billiards.claims import falsify, story, true_claims

HOME_BALLS = ("yellow", "blue", "red", "purple", "orange", "green", "black")

POT = Record(
    index=7,
    venue="home",
    kind="double",
    balls=("red", "blue", "black"),
    ball_set=HOME_BALLS,
    shirt="green",
    events=(
        Event(0.6, "cushion", "white", "top"),
        Event(0.8, "hit", "white", "red"),
        Event(1.1, "hit", "red", "blue"),
        Event(1.4, "pocket", "red", "bottom middle"),
        Event(2.0, "pocket", "white", "top left"),
    ),
)
BREAK = Record(
    index=8,
    venue="home",
    kind="break",
    balls=HOME_BALLS[:6],
    ball_set=HOME_BALLS,
    shirt="red",
    events=(
        Event(0.7, "hit", "white", "red"),
        Event(0.72, "hit", "red", "blue"),
        Event(1.5, "pocket", "green", "top right"),
    ),
)
QUIET = Record(
    index=9, venue="home", kind="no_hit", balls=("red", "blue"), ball_set=HOME_BALLS, shirt="red", events=()
)

SUPPORTED = {
    "home": [
        "the white ball hits the red ball",
        "the red ball hits the white ball",
        "the white ball first hits the red ball",
        "the red ball hits the blue ball",
        "the white ball bounces off the top cushion",
        "the white ball touches a cushion first",
        "the red ball goes into the bottom middle pocket",
        "the red ball is pocketed",
        "the white ball falls into a pocket",
        "the blue ball was not pocketed",
        "the triangle is not broken",
        "there is no yellow ball",
        "there is no pink ball",
    ],
    "club": [
        "the cue ball strikes red",
        "the cue ball strikes red before any other",
        "the cue ball rebounds off the far rail",
        "the cue ball takes a rail first",
        "red drops in the near middle pocket",
        "red is potted",
        "the cue ball is lost in a pocket",
        "black was not potted",
        "the rack is not opened",
        "the table has no orange",
    ],
    "hall": [
        "the white runs into the red",
        "the white meets the red as its first ball",
        "the white comes back from the upper cushion",
        "the white meets a cushion first",
        "the red disappears in the lower centre pocket",
        "the red is sunk",
        "the white is sunk by mistake",
        "the black was not sunk",
        "the pack is not scattered",
        "no purple is in play",
    ],
}
FALSE = {
    "home": [
        "the red ball goes into the bottom left pocket",  # another pocket
        "the blue ball goes into the bottom middle pocket",  # another ball
        "the white ball first hits the blue ball",
        "the white ball hits the black ball",
        "the yellow ball is pocketed",  # a ball that is not there
        "the pink ball goes into the top left pocket",  # a ball this venue has not
        "the yellow ball was not pocketed",
        "the white ball bounces off the left cushion",
        "the red ball was not pocketed",
        "there is no red ball",
        "the white ball breaks the triangle",
        "the white ball hits no ball",
        "no coloured ball is pocketed",
        "the white ball rolls without touching anything",
        "the white ball was not pocketed",
        "the red ball hits the red ball",
    ],
    "club": [
        "red drops in the far middle pocket",
        "black drops in the near middle pocket",
        "the cue ball strikes blue before any other",
        "green is potted",
        "the cue ball rebounds off the near rail",
        "nothing is potted",
        "the cue ball strikes nothing",
        "the cue ball opens the rack",
        "the table has no blue",
        "the cue ball meets nothing at all",
    ],
    "hall": [
        "the red disappears in the upper centre pocket",
        "the blue disappears in the lower centre pocket",
        "the white meets the blue as its first ball",
        "the orange is sunk",
        "the white comes back from the lower cushion",
        "no colour is sunk",
        "the white meets no other ball",
        "the white scatters the pack",
        "no red is in play",
        "the white runs on alone",
    ],
}
GIBBERISH = [
    "a man plays billiards in a room",
    "the red ball",
    "the red ball goes into the pocket",
    "the red ball goes into the upside down pocket",
    "the ball ball hits hits",
    "red red red",
    "the white ball hits the red ball hits the blue ball",
    "the player wears a green shirt",
    "the red ball goes into the near middle pocket",  # the verb of one venue, the pocket of another
]


@pytest.mark.parametrize("sentence", [s for said in SUPPORTED.values() for s in said])
def test_a_true_sentence_of_any_style_is_supported(sentence):
    verdict = judge(f"{sentence}.", POT)
    assert (len(verdict.supported), verdict.false, verdict.unparsed) == (1, (), ())
    assert verdict.precision == 1.0


@pytest.mark.parametrize("sentence", [s for said in FALSE.values() for s in said])
def test_a_sentence_that_the_log_contradicts_is_false(sentence):
    verdict = judge(f"{sentence}.", POT)
    assert (verdict.supported, len(verdict.false), verdict.unparsed) == ((), 1, ())
    assert verdict.precision == 0.0
    assert verdict.recalled == ()


@pytest.mark.parametrize("sentence", GIBBERISH)
def test_what_is_no_claim_is_set_aside_and_costs_precision(sentence):
    verdict = judge(f"{sentence}. the red ball is pocketed.", POT)
    assert verdict.unparsed == (sentence,)
    assert verdict.supported == (Claim("pocketed", "red"),)
    assert verdict.precision == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "The White Ball hits  the red ball!",
        "and then the white ball hits the red ball",
        "finally, the white ball hits the red ball;",
        "the white ball hits the red ball\n",
        "the cue ball hits the red one",
        "the white hits red",
    ],
)
def test_case_spaces_linking_words_and_short_names_do_not_matter(text):
    assert parse(text) == ([Claim("hits", "white", "red")], [])


def test_two_claims_joined_by_and_are_two_claims():
    text = (
        "the red ball goes into the bottom middle pocket and the blue ball goes into the top left pocket. "
        "red drops in the near middle pocket and black drops in the far left pocket."
    )
    verdict = judge(text, POT)
    assert verdict.supported == (Claim("pocket", "red", "bottom middle"),) * 2
    assert verdict.false == (Claim("pocket", "blue", "top left"), Claim("pocket", "black", "top left"))


def test_american_spelling_is_understood():
    assert parse("no colored ball is pocketed.") == ([Claim("none_pocketed")], [])


def test_an_empty_text_claims_nothing_and_recalls_nothing():
    verdict = judge(" ... ", POT)
    assert (verdict.supported, verdict.false, verdict.unparsed, verdict.recalled) == ((), (), (), ())
    assert (verdict.precision, verdict.recall) == (1.0, 0.0)


def test_what_a_full_description_tells_is_the_log_in_order():
    assert story(POT) == [
        Claim("cushion", "white", "top"),
        Claim("hits", "white", "red"),
        Claim("hits", "red", "blue"),
        Claim("pocket", "red", "bottom middle"),
        Claim("pocket", "white", "top left"),
    ]
    assert story(BREAK) == [Claim("break"), Claim("pocket", "green", "top right")]
    assert story(QUIET) == [Claim("untouched")]


def test_a_short_story_keeps_the_pocketings_then_the_first_hit():
    assert story(POT, limit=2) == [
        Claim("pocket", "red", "bottom middle"),
        Claim("pocket", "white", "top left"),
    ]
    assert story(POT, limit=3)[0] == Claim("hits", "white", "red")


def test_recall_counts_told_facts_once_whatever_their_words_and_order():
    text = (
        "red drops in the near middle pocket. the white first hits something. "
        "the white meets the red as its first ball. the red ball goes into the bottom middle pocket. "
        "the blue ball hits the red ball. the white ball falls into a pocket."
    )
    verdict = judge(text, POT)
    assert verdict.recalled == (
        Claim("hits", "white", "red"),
        Claim("hits", "red", "blue"),
        Claim("pocket", "red", "bottom middle"),
    )
    assert verdict.recall == pytest.approx(3 / 5)
    assert verdict.precision == pytest.approx(5 / 6)


def test_a_break_is_judged_by_everything_that_happened_in_it():
    verdict = judge("the white scatters the pack. the red runs into the blue. green is potted.", BREAK)
    assert len(verdict.supported) == 3
    assert verdict.recall == 0.5


def test_a_shot_that_touches_nothing_supports_the_sentences_about_that():
    said = "the white ball rolls without touching anything. the white ball hits no ball. nothing is potted."
    verdict = judge(said, QUIET)
    assert len(verdict.supported) == 3
    assert verdict.recall == 1.0


@pytest.mark.parametrize("record", [POT, BREAK, QUIET], ids=["pot", "break", "quiet"])
def test_a_changed_claim_is_false_and_differs_in_one_word(record):
    truth = true_claims(record)
    rng = np.random.default_rng(0)
    for claim in sorted(truth):
        if claim.kind not in ("hits", "first_hit", "cushion", "pocket", "pocketed"):
            continue
        for _ in range(10):
            wrong = falsify(claim, record, rng)
            assert wrong is not None
            assert wrong not in truth
            assert wrong.kind == claim.kind
            assert (wrong.subject != claim.subject) + (wrong.where != claim.where) == 1


def test_a_sentence_about_the_white_ball_keeps_it_when_it_is_made_false():
    rng = np.random.default_rng(1)
    for claim in (Claim("pocket", "white", "top left"), Claim("cushion", "white", "top")):
        assert {falsify(claim, POT, rng).subject for _ in range(40)} == {"white"}


def test_a_record_survives_json():
    for record in (POT, BREAK, QUIET):
        assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_records_are_read_from_a_file_in_order(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(record.to_json()) + "\n" for record in (POT, BREAK)))
    assert load_records(path) == [POT, BREAK]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        '{"id": "000001"}',
        json.dumps(POT.to_json()).replace('"pocket"', '"jump"'),
        json.dumps(POT.to_json()).replace("0.6", '"soon"'),
        "\udcff",
    ],
)
def test_a_broken_line_of_a_log_is_named(tmp_path, line):
    path = tmp_path / "events.jsonl"
    good = json.dumps(POT.to_json())
    path.write_bytes(f"{good}\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=r"events\.jsonl:2"):
        load_records(path)


def test_a_missing_log_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FormatError, match=r"events\.jsonl: cannot be read: No such file"):
        load_records(tmp_path / "events.jsonl")
