"""Questions are right by the log, have answers in every style, and no answer that is given away."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from vidapt.worlds.asked import QA, normalise
from vidapt.worlds.conveyor import QUESTION_TYPES, STYLES, VENUES, ask, judge
from vidapt.worlds.conveyor.claims import first_out
from vidapt.worlds.conveyor.clips import Played, play
from vidapt.worlds.conveyor.language import CLAIMS
from vidapt.worlds.conveyor.line import END_S
from vidapt.worlds.conveyor.times import spans

SEED, CLIPS = 13, 120


@pytest.fixture(scope="module", params=VENUES, ids=lambda venue: venue.name)
def asked(request: pytest.FixtureRequest) -> list[tuple[Played, QA]]:
    played = play(SEED, range(CLIPS), request.param, 2, when=True)
    return [(one, qa) for one in played for qa in one.asked()]


def test_every_type_is_asked_and_every_answer_is_accepted(asked: list[tuple[Played, QA]]) -> None:
    assert {qa.type for _, qa in asked} == {*QUESTION_TYPES, "when"}
    for _, qa in asked:
        assert qa.type == "when" or normalise(qa.answer) in qa.accept
        assert qa.question[-1] in ".?"
        assert "{" not in qa.question + qa.answer


def test_yes_and_no_are_equally_frequent_and_no_answer_is_nearly_always_right(
    asked: list[tuple[Played, QA]],
) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for _, qa in asked:
        answers[qa.type][qa.value] += 1
    for kind in ("exists", "true_false"):
        assert answers[kind]["yes"] == answers[kind]["no"]
    for kind, counts in answers.items():
        if kind not in ("trajectory", "caption"):
            assert max(counts.values()) / sum(counts.values()) < 0.9, kind


def test_statements_are_true_or_false_as_answered(asked: list[tuple[Played, QA]]) -> None:
    for played, qa in asked:
        if qa.type == "true_false":
            said = qa.question.split(": ", 1)[-1].split("? ", 1)[-1].removesuffix(". are they right?")
            verdict = judge(said, played.record)
            assert (len(verdict.supported), len(verdict.false)) == ((1, 0) if qa.value == "yes" else (0, 1))


def test_answers_say_what_the_log_says(asked: list[tuple[Played, QA]]) -> None:
    befell = {"held": "hold", "touch": "touch", "fell": "fall"}
    for played, qa in asked:
        record = played.record
        if qa.type in befell:
            names = {event.subject for event in record.events if event.kind == befell[qa.type]}
            assert qa.value == (",".join(sorted(names)) or "none")
        elif qa.type == "count":
            assert int(qa.value) == len(played.plan.parts)
        elif qa.type == "fastest":
            assert qa.value == max(record.belts, key=lambda belt: belt.speed).name
        elif qa.type == "first_out":
            assert qa.value == (first_out(record) or "none")
        elif qa.type == "arm":
            done = {event.kind for event in record.happened("push", "pick")}
            expected = {frozenset(): "nothing", frozenset(["push", "pick"]): "both"}
            assert qa.value == expected.get(frozenset(done), next(iter(done), ""))


def test_a_false_premise_is_about_a_part_that_is_not_pushed(asked: list[tuple[Played, QA]]) -> None:
    kinds = Counter()
    for played, qa in asked:
        if qa.type == "false_premise":
            style = STYLES[played.venue.style]
            here = [part.name for part in played.record.parts if style.call(part.name) in qa.question]
            pushed = {event.subject for event in played.record.happened("push")}
            assert bool(here) == (qa.value == "not pushed")
            assert not set(here) & pushed
            assert normalise(qa.question) not in qa.accept
            kinds[qa.value] += 1
    assert min(kinds.values()) > 0.2 * sum(kinds.values())


def test_the_first_to_leave_is_not_asked_where_two_leave_at_about_one_time() -> None:
    (played,) = play(SEED, [0], VENUES[0])
    left = [replace(event, kind="leave") for event in played.record.events[:1]]
    assert left
    record = replace(played.record, events=(left[0], replace(left[0], time_s=left[0].time_s + 0.1)))
    assert first_out(record) is None
    assert "first_out" not in {qa.type for qa in ask(record, STYLES["works"], np.random.default_rng(0))}


def test_stretches_of_time_lie_within_the_clip_and_around_their_events(
    asked: list[tuple[Played, QA]],
) -> None:
    kinds = set()
    for played in {id(one): one for one, _ in asked}.values():
        for kind, thing, begin, end in spans(played.record):
            assert 0 <= begin < end <= END_S
            times = [e.time_s for e in played.record.events if e.subject == thing]
            assert any(begin <= time <= end + 1e-9 for time in times)
            kinds.add(kind)
    assert kinds == {"when:stop", "when:fall", "when:arm"}


@pytest.mark.parametrize("style", STYLES.values(), ids=list(STYLES))
def test_a_style_has_words_for_everything(style) -> None:
    first = STYLES["works"]
    assert set(style.sentences) == set(CLAIMS)
    assert set(style.questions) == set(first.questions)
    assert set(style.answers) == set(first.answers)
    assert {noun: set(table) for noun, table in style.words.items()} == {
        noun: set(table) for noun, table in first.words.items()
    }
    assert {qa for qa in QUESTION_TYPES if qa not in style.questions} == {"false_premise"}


def test_no_word_means_two_things_in_two_styles() -> None:
    for noun in STYLES["works"].words:
        meanings: dict[str, set[str]] = defaultdict(set)
        for style in STYLES.values():
            for value, word in style.words[noun].items():
                meanings[word].add(value)
        assert all(len(values) == 1 for values in meanings.values())
