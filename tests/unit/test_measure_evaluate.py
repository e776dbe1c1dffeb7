"""Evaluation with a pretended engine: numbers, controls, and what survives a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_tools import Decoding, FakeEngine, colour_judge, pool, sample, truth

from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.formats import single_questions
from vidapt.measure.asking import plain, visiting_order
from vidapt.measure.evaluate import evaluate
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.nouns import MEDIA, Turn

FIRST_PORTION = {"c00", "c04"}


def run(out: Path, engine: FakeEngine | None = None, clips: int = 8, **options: object) -> Evaluation:
    given = {"judge": colour_judge, "questions_at_once": 6, "workers": 1, **options}
    return evaluate(engine or FakeEngine(truth), pool(clips), out=out, decoding=Decoding(), **given)  # type: ignore[arg-type]


def rows(out: Path) -> list[dict[str, object]]:
    lines = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


@given(st.integers(2, 200))
def test_the_order_is_one_ring_of_all_clips_that_keeps_neighbours_apart(count: int) -> None:
    order = visiting_order(count)
    assert sorted(order) == list(range(count))
    pairs = list(zip(order, [*order[1:], order[0]], strict=True))
    assert all(a != b for a, b in pairs)
    assert all(b == a + (count + 1) // 2 for a, b in pairs if a < count // 2)
    assert min(abs(a - b) for a, b in pairs) >= (count // 2 - 1 if count > 3 else 1)


def test_numbers_equal_those_counted_by_hand(tmp_path: Path) -> None:
    result = run(tmp_path, train_samples=pool(3))
    model, blind, other = (result.arms[arm].accuracy for arm in ("model", "blind", "other_clip"))
    assert model is not None
    assert blind is not None
    assert other is not None
    assert (model.macro.value, model.types["colour"].n) == (1.0, 8)
    assert model.macro.low == pytest.approx(0.025 ** (1 / 8))  # eight of eight
    # Blind always says red (2 of 8) and no (4 of 8).
    assert blind.types["colour"].accuracy.value == 0.25
    assert blind.macro.value == pytest.approx((0.25 + 0.5) / 2)
    # 0-4-1-5-2-6-3-7-0: the first half gets a clip 4 on, of equal colour; the second half another colour.
    assert other.types["colour"].accuracy.value == 0.5
    assert other.types["colour"].accuracy.low < 0.5 < other.types["colour"].accuracy.high
    # "no." is commonest in training (2 of 3), and of equally common colours the alphabetically first: black
    # is not among them, so blue.
    majority = result.arms["majority"].accuracy
    assert majority is not None
    assert (majority.types["falls"].correct, majority.types["colour"].correct) == (4, 2)
    claims = result.arms["blind"].claims
    assert claims is not None
    assert claims.total.contradicted == 6
    assert claims.false_claim_rate is not None
    assert claims.false_claim_rate.value == 0.75
    assert claims.recall is not None
    assert claims.recall.value == 2 / 16
    saved = json.loads((tmp_path / "metrics.json").read_text())
    assert saved["arms"]["blind"]["accuracy"]["macro"]["value"] == blind.macro.value
    assert saved == json.loads(json.dumps(read_evaluation(tmp_path).to_dict()))


def test_every_clip_is_seen_once_and_its_shuffled_answers_come_from_another(tmp_path: Path) -> None:
    engine = FakeEngine(truth)
    run(tmp_path, engine, clips=9)
    assert sorted(engine.watched) == [f"c{i:02d}" for i in range(9)]
    given = {row["clip"]: row["other_from"] for row in rows(tmp_path)}
    assert all(clip != other for clip, other in given.items())
    assert sorted(given.values()) == sorted(given)  # type: ignore[type-var]
    assert all(sum(len(questions) for _, questions in batch) <= 6 for batch in engine.asked)
    blind = [
        question
        for batch in engine.asked
        for clip, questions in batch
        if clip is None
        for question in questions
    ]
    assert sorted(blind) == sorted(set(blind))


@pytest.mark.parametrize("calls", range(9))
def test_a_killed_evaluation_goes_on_to_the_same_verdicts(tmp_path: Path, calls: int) -> None:
    broken = frozenset({"c01", "c04"})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, FakeEngine(truth, broken))
    with pytest.raises(KeyboardInterrupt):
        run(killed, FakeEngine(truth, broken, dies_after=calls))
    file = killed / "predictions.jsonl"
    done = {row["clip"] for row in rows(killed)}
    file.write_bytes(file.read_bytes() + b'{"number": 4, "sam')
    engine = FakeEngine(truth, broken)
    run(killed, engine)
    assert rows(killed) == rows(whole)
    assert (killed / "quarantine.jsonl").read_text() == (whole / "quarantine.jsonl").read_text()
    # The first portion is seen again to serve the last clip of the ring.
    again = set(engine.watched) & done
    assert again == (FIRST_PORTION & done if done else set())


def test_rows_written_in_part_are_asked_again(tmp_path: Path) -> None:
    run(tmp_path)
    whole = rows(tmp_path)
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "predictions.jsonl").write_text("".join(lines[:9]))
    run(tmp_path)
    assert rows(tmp_path) == whole


def test_a_finished_evaluation_is_not_asked_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    engine = FakeEngine(truth)
    assert run(tmp_path, engine).to_dict() == first.to_dict()
    assert not engine.asked


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"engine": FakeEngine(truth, weights="b")}, "model"),
        ({"clips": 7}, "data"),
        ({"judge": None}, "judged"),
    ],
)
def test_verdicts_of_something_else_are_refused_and_can_be_overwritten(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    run(tmp_path)
    with pytest.raises(ConfigError, match=rf"differs in: .*{named}"):
        run(tmp_path, **change)  # type: ignore[arg-type]
    assert run(tmp_path, overwrite=True, **change).verdicts  # type: ignore[arg-type]


def test_broken_clips_are_set_aside_with_reasons_and_the_job_goes_on(tmp_path: Path) -> None:
    result = run(tmp_path, FakeEngine(truth, frozenset({"c02", "c03", "c06", "c07"})))
    listed = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert {(row["clip"], row["reason"]) for row in listed} == {
        (f"c0{i}", "it is empty") for i in (2, 3, 6, 7)
    }
    assert result.clips == 4
    assert any("could not be used: 4." in note for note in result.notes)
    given = {row["clip"]: row["other_from"] for row in rows(tmp_path)}
    assert given == {"c00": "c04", "c04": "c01", "c01": "c05", "c05": "c00"}


def test_only_broken_clips_are_an_error_that_names_the_list(tmp_path: Path) -> None:
    with pytest.raises(VidaptError, match=r"quarantine\.jsonl.*\n?.*all 2 clips are broken"):
        run(tmp_path, FakeEngine(truth, frozenset({"c00", "c01"})), clips=2)


def test_one_clip_has_no_shuffled_control(tmp_path: Path) -> None:
    assert set(run(tmp_path, clips=1).arms) == {"model", "blind"}


def test_controls_can_be_left_out(tmp_path: Path) -> None:
    engine = FakeEngine(truth)
    assert set(run(tmp_path, engine, controls=()).arms) == {"model"}
    assert sum(len(questions) for batch in engine.asked for _, questions in batch) == 24


def test_without_a_log_free_texts_are_compared_with_their_references(tmp_path: Path) -> None:
    result = run(tmp_path, judge=None)
    assert result.arms["model"].claims is None
    assert result.arms["model"].overlap["story"].rouge_l.value == 1.0
    assert result.arms["blind"].overlap["story"].word_f1.value < 0.7
    assert any("could not be counted" in note for note in result.notes)
    assert "story (ROUGE-L)" in [row[0] for row in result.rows()]


def test_long_answers_without_facts_are_free_text_and_short_ones_are_not(tmp_path: Path) -> None:
    def bare(clip: str, question: str, answer: str) -> object:
        return replace(sample(clip, "-", question, answer), facts={})

    long = [bare(f"c0{i}", "describe it", "a red ball rolls into the far corner pocket") for i in range(2)]
    short = [bare(f"c0{i}", "which colour?", "red") for i in range(2)]
    assert all(v.free for v in evaluate_bare(tmp_path / "long", long))
    assert not any(v.free for v in evaluate_bare(tmp_path / "short", short))


def evaluate_bare(out: Path, samples: list[object]) -> tuple[object, ...]:
    return evaluate(FakeEngine(truth), samples, out=out, decoding=Decoding()).verdicts  # type: ignore[arg-type]


def test_the_clip_is_asked_with_its_mark_and_the_blind_question_without(tmp_path: Path) -> None:
    marks = [f"{MEDIA}\nwhich colour?", "does it fall?"]
    samples = [sample("c00", "t", text, "red") for text in marks]
    engine = FakeEngine(lambda clip, question: question)
    result = evaluate(engine, samples, out=tmp_path, decoding=Decoding(), controls=("blind",))  # type: ignore[arg-type]
    assert engine.asked == [[("c00", tuple(marks))], [(None, ("which colour?", "does it fall?"))]]
    assert [v.predictions["model"] for v in result.verdicts] == marks


def test_many_questions_about_one_clip_are_asked_in_parts(tmp_path: Path) -> None:
    samples = [sample("c00", "t", f"question {i}?", f"question {i}?") for i in range(20)]
    engine = FakeEngine(lambda clip, question: question)
    result = evaluate(  # type: ignore[arg-type]
        engine, samples, out=tmp_path, decoding=Decoding(), controls=("blind",), questions_at_once=6
    )
    assert [len(questions) for batch in engine.asked for _, questions in batch] == [6, 6, 6, 2] * 2
    assert result.arms["model"].accuracy.macro.value == 1.0  # type: ignore[union-attr]


def test_each_question_of_a_conversation_is_asked_and_the_report_says_so(tmp_path: Path) -> None:
    one, single = pool(1)[0], pool(1)[1]
    talk = replace(
        one,
        turns=(
            Turn("system", "be brief."),
            Turn("user", f"{MEDIA} what is on the table?"),
            Turn("assistant", "balls."),
            Turn("user", "and?"),  # without an answer
            *one.turns,
        ),
    )
    result = evaluate(FakeEngine(truth), [talk, single], out=tmp_path, decoding=Decoding())  # type: ignore[arg-type]
    asked = [(v.sample, v.question, v.expected, v.accept) for v in result.verdicts]
    assert asked[0] == (f"{one.id}#1", "what is on the table?", "balls.", ("balls.",))
    assert asked[1][:3] == (f"{one.id}#3", plain(one.question), one.answer)
    assert asked[2][0] == single.id
    assert len(asked) == 3
    assert any("several turns (1)" in note for note in result.notes)


def test_the_majority_counts_every_answer_of_a_conversation() -> None:
    turns = (Turn("user", "red?"), Turn("assistant", "yes."), Turn("user", "blue?"), Turn("assistant", "no."))
    talk = replace(pool(1)[0], turns=turns, facts={"type": "exists", "accept": ["no.", "none."]})
    first, last = single_questions([talk])
    assert (first.question, first.answer, dict(first.facts)) == ("red?", "yes.", {"type": "exists"})
    assert (last.question, last.answer, last.facts["accept"]) == ("blue?", "no.", ["no.", "none."])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no question"),
        ([replace(pool(1)[0], media=())], "0 clips"),
        ([pool(1)[0]] * 2, "already taken"),
        ([replace(pool(1)[1], turns=(Turn("user", "?"),))], "no answer"),
    ],
)
def test_questions_that_cannot_be_measured_are_named(
    tmp_path: Path, samples: list[object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_bare(tmp_path, samples)
    assert not list(tmp_path.iterdir())


def test_questions_about_several_clips_or_none_are_left_out_and_told(tmp_path: Path) -> None:
    one, other = pool(2)[:2]
    text = replace(one, id="text", media=())
    pair = replace(one, id="pair", media=(*one.media, *other.media))
    result = evaluate(FakeEngine(truth), [text, one, pair], out=tmp_path, decoding=Decoding())  # type: ignore[arg-type]
    assert [verdict.sample for verdict in result.verdicts] == [one.id]
    assert any("are not measured: 2" in note for note in result.notes)


def test_a_damaged_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    run(tmp_path)
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "predictions.jsonl").write_text("".join([*lines[:3], "{\n", *lines[3:]]))
    with pytest.raises(FormatError, match=r"predictions\.jsonl:4"):
        run(tmp_path)


def test_a_folder_without_verdicts_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no verdicts"):
        read_evaluation(tmp_path)


def test_captions_among_untyped_questions_are_measured_by_their_words_and_do_not_lower_the_mean(
    tmp_path: Path,
) -> None:
    """Labels of other tools name no types; a true caption in other words used to count as wrong."""
    caption = "The {} ball moves to the left and falls into a pocket."
    samples = []
    for index in range(4):
        clip, colour = f"c{index:02d}", ("red", "blue", "green", "black")[index]
        samples += [
            sample(clip, "", f"is the {colour} ball here?", "yes."),
            sample(clip, "", "how many?", "2"),
        ]
        samples.append(sample(clip, "", "Describe the video.", caption.format(colour)))
    untyped = [replace(one, facts={}) for one in samples]

    def told(clip: str | None, question: str) -> str:
        if question.startswith("Describe"):
            return "A ball of another colour falls to the left."
        return "yes" if question.startswith("is") else "2"

    found = evaluate(FakeEngine(told), untyped, out=tmp_path, decoding=Decoding(), workers=1)  # type: ignore[arg-type]
    model = found.arms["model"]
    assert model.accuracy is not None
    assert set(model.accuracy.types) == {"is the … ball here", "how many"}
    assert model.accuracy.macro.value == 1.0
    assert set(model.overlap) == {"describe the video"}
    assert 0 < model.overlap["describe the video"].rouge_l.value < 1
    assert any("grouped by what they ask" in note for note in found.notes)
    assert any("not scored as right or wrong" in note for note in found.notes)
