"""Accuracy per type, differences of systems, the majority baseline and the yes ratio."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.metrics.accuracy import Answer, accuracy, answer_of, difference, majority, yes_ratio
from vidapt.nouns import Clip, Sample, Turn


def asked(question: str, answer: str, kind: str | None = None, **facts: object) -> Sample:
    if kind is not None:
        facts["type"] = kind
    turns = (Turn("user", question), Turn("assistant", answer))
    return Sample(f"{question}-{answer}", (Clip("clip-1", Path("a.mp4")),), turns, facts=facts)


def answer(clip: str, kind: str, right: bool) -> Answer:
    return Answer(clip, kind, "q", "red" if right else "blue", ("red",))


def kind(sample: Sample) -> str:
    return str(sample.facts["type"])


rows = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y"]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=25,
)


def test_truth_is_the_accepted_list_or_the_answer() -> None:
    plain = answer_of(asked("<video>\nWhich  ball?", "red", "ball"), " Red.", "ball")
    assert plain == Answer("clip-1", "ball", "Which ball?", " Red.", ("red",))
    assert plain.correct
    several = answer_of(asked("q", "red", accept=["red", "the red one"]), "the red one", "x")
    assert several.correct
    assert several.type == "x"
    assert not replace(several, prediction="").correct
    assert answer_of(replace(asked("q", "a"), media=()), "a", "x").source == "q-a"


def test_types_weigh_the_same_in_the_macro_mean() -> None:
    answers = [answer(f"c{i}", "common", True) for i in range(8)]
    answers += [answer("c0", "rare", True), answer("c1", "rare", False)]
    found = accuracy(answers, resamples=500)
    assert (found.n, found.sources) == (10, 8)
    assert found.overall.value == pytest.approx(0.9)
    assert found.macro.value == pytest.approx(0.75)
    assert (found.types["rare"].n, found.types["rare"].correct) == (2, 1)
    assert found.types["rare"].accuracy.value == 0.5
    assert found.macro.low < 0.75 < found.macro.high
    assert found.yes_ratio is None
    assert json.loads(json.dumps(asdict(found)))["types"]["rare"]["accuracy"]["value"] == 0.5


@settings(deadline=None, max_examples=40)
@given(rows)
def test_differences_are_those_of_the_two_accuracies(table: list[tuple[str, str, bool, bool]]) -> None:
    before = [answer(clip, kind, right) for clip, kind, right, _ in table]
    after = [answer(clip, kind, right) for clip, kind, _, right in table]
    gain = difference(before, after, resamples=100)
    old, new = (accuracy(answers, resamples=100) for answers in (before, after))
    assert gain.macro.value == pytest.approx(new.macro.value - old.macro.value)
    for kind, interval in gain.types.items():
        assert interval.value == pytest.approx(
            new.types[kind].accuracy.value - old.types[kind].accuracy.value
        )
    same = difference(before, before, resamples=100)
    assert (same.macro.low, same.macro.value, same.macro.high) == (0, 0, 0)
    assert same.mcnemar.p_value == 1
    back = difference(after, before, resamples=100)
    assert (back.mcnemar.only_a, back.mcnemar.only_b) == (gain.mcnemar.only_b, gain.mcnemar.only_a)
    assert back.macro.low == pytest.approx(-gain.macro.high)


def test_answers_to_other_questions_are_not_compared() -> None:
    one, other = answer("a", "x", True), answer("b", "x", True)
    with pytest.raises(ValueError, match="same questions"):
        difference([one, other], [other, one])
    with pytest.raises(ValueError, match="same questions"):
        difference([one], [one, one])


def test_no_answers_are_no_accuracy() -> None:
    with pytest.raises(ValueError, match="at least one"):
        accuracy([])


def test_majority_goes_by_question_then_by_type() -> None:
    train = [
        asked("<video>Which ball?", "Red.", "ball"),
        asked("which ball", "red", "ball"),
        asked("Which ball?", "blue", "ball"),
        asked("first ball?", "blue", "ball"),
        asked("first ball?", "blue", "ball"),
        asked("count?", "2", "count"),
        asked("count?", "10", "count"),
    ]
    guess = majority(train, kind)
    assert guess.predict(asked("which BALL", "?", "ball"), "ball") == "red"
    assert guess.predict(asked("last ball?", "?", "ball"), "ball") == "blue"
    assert guess.predict(asked("count?", "?", "count"), "count") == "10"
    assert guess.predict(asked("where?", "?", "place"), "place") == ""
    assert majority(reversed(train), kind) == guess


def test_majority_never_sees_the_test_answers() -> None:
    guess = majority([asked("q", "red", "t")], kind)
    tested = asked("q", "blue", "t")
    assert not answer_of(tested, guess.predict(tested, "t"), "t").correct


def test_yes_ratio_counts_first_words_of_yes_no_questions() -> None:
    answers = [
        Answer("a", "t", "q", "Yes, it did.", ("no", "No, it did not.")),
        Answer("a", "t", "q", "yes", ("yes",)),
        Answer("a", "t", "q", "no", ("yes",)),
        Answer("a", "t", "q", "yesterday", ("yes",)),
        Answer("a", "t", "q", "yes", ("red",)),
        Answer("a", "t", "q", "yes", ("yes", "red")),
    ]
    found = yes_ratio(answers)
    assert found is not None
    assert (found.n, found.said_yes, found.said_neither, found.true_yes) == (4, 0.5, 0.25, 0.75)
    assert yes_ratio(answers[4:]) is None
