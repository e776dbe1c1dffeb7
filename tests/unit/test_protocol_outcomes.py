"""What each protocol makes of rows and answers."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from protocol_tools import ROWS, cases, made, outcome, samples, scored, words_judge

from vidapt.errors import ConfigError
from vidapt.metrics.case_numbers import numbers
from vidapt.metrics.cases import Question, Told


def values(kind: str, *answers: str, judge: Any = words_judge, **options: Any) -> dict[str, float]:
    """Measures of a protocol's first case."""
    part = made(kind, **options)
    told = Told(part.cases(samples(ROWS[kind]))[0], answers)
    terms = outcome(part, told, judge, part.around([told])).terms
    return {name: top / bottom for name, (top, bottom) in terms.items() if bottom}


@pytest.mark.parametrize(
    ("kind", "row", "named", "remedy"),
    [
        ("caption", {"question": "q"}, "no column `answer`", "write it as"),
        ("open_qa", {"answer": "a"}, "no column `question`", "write it as"),
        ("claims", {"question": "q"}, "no column `answer`", "write it as"),
        ("chair", {"question": "q", "answer": "a"}, r"no column `objects` \(or labels", '"objects"'),
        ("multiple_choice", {"question": "q", "answer": "A"}, r"no column `options` \(or cand", '"options"'),
        (
            "multiple_choice",
            {"question": "q", "answer": "D", "options": ["a", "b"]},
            "none of its options",
            "letter or index",
        ),
        (
            "multiple_choice",
            {"question": "q", "answer": "a", "options": ["x", "X."]},
            "same option twice",
            "",
        ),
        ("multiple_choice", {"question": "q", "answer": "a", "options": "a, b"}, "no list of texts", ""),
        ("fact_pairs", {"question": "q", "answer": "yes"}, "no column `pair`", "in two rows"),
        ("fact_pairs", {"question": "q", "answer": "yes", "pair": "x"}, "not of two rows", ""),
        ("pope", {"question": "q", "answer": "red"}, "lists no `objects`", '"objects"'),
        ("pope", {"objects": ["cue"]}, "all rows list one object", "several kinds"),
        ("dense_events", {"question": "q"}, "no column `events`", '"start"'),
        ("dense_events", {"question": "q", "events": [{"text": "x"}]}, "has no times", '"start"'),
        ("dense_events", {"question": "q", "events": [{"start": 3, "end": 1}]}, "has no times", ""),
        ("statement_match", {"true": ["x"]}, "no column `false`", '"false"'),
        ("length_trap", {"true": ["a ball falls"], "false": ["no"]}, "longer than a true one", ""),
        ("video_chatgpt", {"Q1": "q", "answer": "a"}, "one of two paired questions", "write both"),
    ],
)
def test_a_row_that_lacks_something_is_told_with_how_to_write_it(
    kind: str, row: dict[str, Any], named: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=named) as error:
        made(kind).cases(samples([row]))
    assert error.value.where.startswith("t:")
    assert remedy in error.value.remedy


def test_options_are_asked_in_every_order_and_an_article_is_no_letter() -> None:
    (case,) = cases("multiple_choice")
    assert case.truth["right"] == [1, 0, 2]
    assert values("multiple_choice", "B", "A", "C") == {
        "accuracy": 1.0,
        "right in every order": 1.0,
        "chose nothing": 0.0,
        "chose the first": pytest.approx(1 / 3),
    }
    always_first = values("multiple_choice", "A", "A", "A")
    assert always_first["accuracy"] == pytest.approx(1 / 3)
    assert always_first["right in every order"] == 0
    assert values("multiple_choice", "", ")", "a red ball")["chose nothing"] == 1
    assert len(made("multiple_choice", orders=1).cases(samples(ROWS["multiple_choice"]))[0].posed) == 1


def test_likelihoods_choose_and_a_tie_does_not() -> None:
    part = made("option_likelihood")
    (case,) = part.cases(samples(ROWS["option_likelihood"]))
    right = ((0.0, 1.0, -1.0), (1.0, -1.0, 0.0), (-1.0, 0.0, 1.0))
    assert outcome(part, Told(case, (), right), words_judge).terms["accuracy"] == (1.0, 1.0)
    tied = outcome(part, Told(case, (), ((0.0, 0.0, 0.0),) * 3), words_judge).terms
    assert tied["accuracy"] == (0.0, 1.0)
    # A model that likes the first place, and knows the answer a little.
    biased = ((1.0, 0.9, 0.0), (1.9, 0.0, -0.1), (1.0, 0.0, 0.9))
    found = outcome(part, Told(case, (), biased), words_judge).terms
    assert found["accuracy"][0] == pytest.approx(1 / 3)
    assert found["right over all orders"] == (1.0, 1.0)


def test_a_pair_needs_both_and_an_echo_wins_neither() -> None:
    assert values("fact_pairs", "yes", "no")["both right"] == 1
    assert values("fact_pairs", "yes", "yes")["both right"] == 0
    echo = values("fact_pairs", "yes or no", "yes or no")
    assert (echo["both right"], echo["facts right"], echo["said neither"]) == (0, 0, 1)


def test_what_is_not_there_is_chosen_at_random_by_frequency_and_by_company() -> None:
    rows = [{"objects": ["cup", "plate"]}] * 5 + [{"objects": ["cup", "fork"]}, {"objects": ["dog", "lawn"]}]
    part = made("pope", each=1)
    found = [case for case in part.cases(samples(rows)) if case.row == "r5"]
    absent = {case.kind: case.posed[0].text for case in found if not case.truth["there"]}
    assert set(absent) == {"random", "popular", "adversarial"}
    assert "a plate" in absent["popular"]
    assert "a plate" in absent["adversarial"]
    for kind in absent:  # as many that are there as are not
        own = [case.truth["there"] for case in found if case.kind == kind]
        assert sorted(own) == [False, True]
    assert part.cases(samples(rows)) == part.cases(samples(rows))
    apple = [case.posed[0].text for case in cases("pope") if "apple" in case.posed[0].text]
    assert apple
    assert all("an apple" in text for text in apple)


def test_who_says_neither_yes_nor_no_is_wrong_both_ways() -> None:
    part = made("pope")
    every = part.cases(samples(ROWS["pope"]))
    mute = numbers(part.measures, scored(part, [Told(case, ("maybe",)) for case in every]), resamples=2)
    for name in ("accuracy", "F1", "precision", "recall"):
        value = mute.figures[name].value
        assert value is not None
        assert value.value == 0
    always = numbers(part.measures, scored(part, [Told(case, ("yes",)) for case in every]), resamples=2)
    assert always.figures["recall"].value.value == 1  # type: ignore[union-attr]
    assert always.figures["said yes"].value.value == 1  # type: ignore[union-attr]
    assert set(always.kinds) == {"random", "popular", "adversarial"}


def test_silence_has_no_precision_and_contradiction_is_not_omission() -> None:
    part = made("claims")
    (case, listed) = part.cases(samples(ROWS["claims"]))

    def judge(question: Question) -> str:
        if question.shape.__name__ == "Relations" and '"the dog barks"' in question.prompt:
            return json.dumps({"relations": ["Supported", "contradicted", "unmentioned"]})
        if question.shape.__name__ == "Events" and "dog" in question.prompt:
            return json.dumps({"events": ["the red ball falls", "the cue ball flies", "the dog barks"]})
        return words_judge(question)

    found = outcome(part, Told(case, ("The red ball falls. The cue ball flies. The dog barks.",)), judge)
    rates = {name: top / bottom for name, (top, bottom) in found.terms.items()}
    assert rates["precision"] == rates["contradicted"] == rates["not mentioned"] == pytest.approx(1 / 3)
    assert rates["recall"] == rates["left out"] == 0.5
    mute = {name: top for name, (top, _) in outcome(part, Told(case, ("",)), judge).terms.items()}
    assert mute == {
        "precision": 0,
        "contradicted": 1,
        "not mentioned": 1,
        "recall": 0,
        "left out": 1,
        "told wrongly": 1,
    }
    empty = outcome(
        part, Told(case, ("Nice!",)), lambda q: '{"events": []}' if "Nice" in q.prompt else words_judge(q)
    )
    assert empty.terms["precision"] == (0.0, 1.0)
    asked: list[str] = []
    outcome(part, Told(listed, ("The red ball falls.",)), lambda q: asked.append(q.prompt) or words_judge(q))  # type: ignore[func-returns-value]
    assert len(asked) == 3  # the reference's events need no judge


def test_mentions_are_found_by_synonyms_and_plurals_the_longest_first() -> None:
    vocabulary = {"red ball": ["crimson ball"], "ball": [], "cue": ["stick"], "blue ball": []}
    said = values("chair", "Two crimson balls, a stick and a blue ball.", vocabulary=vocabulary)
    assert said == {
        "false mentions": pytest.approx(1 / 3),
        "captions with one": 1.0,
        "recall": 1.0,
        "CHAIRi as published": pytest.approx(1 / 3),
        "CHAIRs as published": 1.0,
    }
    assert values("chair", "It rains.", vocabulary=vocabulary)["false mentions"] == 1
    with pytest.raises(ConfigError, match="is a name of"):
        made("chair", vocabulary={"cue": ["stick"], "twig": ["sticks"]}).cases(samples(ROWS["chair"]))
    with pytest.raises(ConfigError, match="none of its objects"):
        made("chair", vocabulary={"dog": []}).cases(samples(ROWS["chair"]))


def test_events_are_matched_once_each_by_their_times() -> None:
    whole = values("dense_events", "1.0–3.0 s: the ball falls. 4.0–6.0 s: it stops.")
    assert set(whole.values()) == {1.0}
    assert values("dense_events", '[{"start": 1, "end": 3, "text": "a"}, {"start": 4, "end": 6}]') == whole
    twice = values("dense_events", "1.0-3.0 s falls\n1.0-3.0 s falls again")
    assert twice["recall@IoU 0.5"] == twice["precision@IoU 0.5"] == 0.5
    assert set(values("dense_events", "the ball falls, then it stops").values()) == {0.0}
    other_words = values("dense_events", "1.0–3.0 s: a dog barks. 4.0–6.0 s: it stops.", alike=0.5)
    assert other_words["recall@IoU 0.5"] == 0.5


def test_what_changes_with_the_order_is_a_tie() -> None:
    first = values("preference", "x", "y", judge=lambda _: '{"better": "1"}')
    assert first["ties"] == first["changed with the order"] == 1
    assert first["wins and half of ties"] == 0.5
    reference = ROWS["preference"][0]["answer"]
    assert values("preference", "x", reference)["wins"] == 1
    assert values("preference", reference, "")["losses"] == 1
    assert values("preference", "", "")["wins and half of ties"] == 0


def test_margins_count_in_standard_deviations_and_length_is_no_merit() -> None:
    part = made("statement_match")
    (case,) = part.cases(samples(ROWS["statement_match"]))
    small, large = Told(case, (), ((0.3, 0.1, 0.2),)), Told(case, (), ((300.0, 100.0, 200.0),))
    found = [outcome(part, one, words_judge, part.around([one])).terms["z-margin"] for one in (small, large)]
    assert found[0] == pytest.approx(found[1])
    trap = made("length_trap")
    (pair,) = trap.cases(samples(ROWS["length_trap"]))
    assert outcome(trap, Told(pair, (), ((0.0, 1.0),)), words_judge).terms["wins every pair"] == (0.0, 1.0)


def test_the_five_scores_count_where_they_were_asked_for() -> None:
    part = made("video_chatgpt")
    found = part.cases(samples(ROWS["video_chatgpt"]))
    assert [case.counts for case in found] == [
        ("correctness", "detail", "context"),
        ("time",),
        ("consistency",),
    ]
    assert len(found[2].posed) == 2
    told = Told(found[2], ("the red ball", "the blue ball"))
    assert outcome(part, told, words_judge).terms == {"consistency": (2.5, 1.0)}
    assert outcome(part, Told(found[2], ("the red ball", "")), words_judge).terms == {"consistency": (0, 1)}


@pytest.mark.parametrize("kind", ["caption", "open_qa", "video_chatgpt", "claims", "preference"])
def test_a_judges_id_depends_on_every_word_of_its_prompts(kind: str) -> None:
    part = made(kind)
    asked: list[str] = []

    def judge(question: Question) -> str:
        asked.append(question.prompt)
        return words_judge(question)

    for case in cases(kind):
        outcome(
            part, Told(case, ("one", "two") if kind == "preference" else ("one",) * len(case.posed)), judge
        )
    whole = "\n".join(asked)
    for prompt in part.prompts:
        assert prompt.partition("{")[0] in whole


@pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is not None, reason="the libraries are installed"
)
def test_text_metrics_say_which_extra_they_need() -> None:
    with pytest.raises(ConfigError, match=r"needs pycocoevalcap(?s:.*)vidapt\[metrics\]"):
        values("text_overlap", "The red ball falls.")


def test_text_metrics_are_those_of_the_libraries() -> None:
    pytest.importorskip("pycocoevalcap")
    part = made("text_overlap")
    rows = samples([{"question": "q", "answer": text} for text in ("a red ball falls", "a dog barks loudly")])
    told = [Told(case, (case.truth["reference"][0],)) for case in part.cases(rows)]
    around = part.around(told)
    for one in told:
        terms = outcome(part, one, words_judge, around).terms
        assert terms["ROUGE-L"] == terms["BLEU of sentences"] == (pytest.approx(1.0), 1.0)
        assert terms["CIDEr-D"][0] > 5


def test_a_text_that_is_true_of_several_clips_fits_all_of_them() -> None:
    part = made("retrieval")
    posed = part.cases(samples([{"answer": "a ball falls"}, {"answer": "a ball falls"}, {"answer": "a cue"}]))
    assert posed[0].posed[0].options == ("a ball falls", "a cue")
    scores = ((0.7, 0.1), (0.9, 0.1), (0.8, 0.6))
    told = [Told(case, ("",), (row,)) for case, row in zip(posed, scores, strict=True)]
    around = part.around(told)
    found = [outcome(part, one, words_judge, around).terms for one in told]
    first = {name: [terms[name][0] for terms in found] for name in found[0] if name.endswith("1")}
    # The first clip is below the third for their text, the second above it; that these two share it is right.
    assert sorted(first.values()) == sorted([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
