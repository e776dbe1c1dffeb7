"""Answers in files are read as people write them, and an answer that is missing never raises a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.errors import ConfigError, FormatError
from vidapt.measure.evaluation import read_evaluation
from vidapt.measure.paired import holm
from vidapt.measure.predicted import evaluate_predictions, is_predictions, read_predictions
from vidapt.metrics.intervals import mean_interval
from vidapt.nouns import Clip, Sample, Turn

QUESTIONS = [
    Sample(
        f"q{number}",
        (Clip(f"c{number}", Path(f"c{number}.mp4")),),
        (Turn("user", "What colour is it?"), Turn("assistant", answer)),
        {"type": "colour"},
    )
    for number, answer in enumerate(["red", "blue", "red", "green"])
]


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def accuracy(folder: Path, rows: list[dict[str, Any]], out: str = "out") -> float:
    given = read_predictions(written(folder, rows))
    found = evaluate_predictions(given, QUESTIONS, name="theirs", out=folder / out)
    scored = found.arms["model"].accuracy
    assert scored is not None
    return scored.macro.value


def test_spellings_of_files(tmp_path: Path) -> None:
    lines = written(tmp_path, [{"question_id": 7, "text": "red"}, {"sample": "b", "pred": None}])
    assert read_predictions(lines).answers == {"7": "red", "b": ""}
    listed = tmp_path / "list.json"
    listed.write_text("\ufeff" + json.dumps([{"id": "a", "response": 3}]), encoding="utf-8")
    assert read_predictions(listed).answers == {"a": "3"}
    own = written(tmp_path, [{"stamp": {}, "about": {}}, {"sample": "a", "predictions": {"model": "red"}}])
    assert read_predictions(own).answers == {"a": "red"}
    ends = tmp_path / "ends.jsonl"
    ends.write_text('{"id": "a", "answer": "red\u2028ball\x85"}\n', encoding="utf-8")
    assert read_predictions(ends).answers == {"a": "red\u2028ball\x85"}
    assert is_predictions(own)
    assert not is_predictions("billiards-home")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "a"}, "has no id and answer"),
        ({"prediction": "red"}, "has no id and answer"),
        ({"id": ["a"], "prediction": "red"}, "has no id and answer"),
        ([1], "is no row of answers"),
    ],
)
def test_what_is_no_answer_is_told_with_its_line(tmp_path: Path, row: Any, says: str) -> None:
    path = written(tmp_path, [{"id": "z", "prediction": "red"}, row])
    with pytest.raises(FormatError, match=says) as error:
        read_predictions(path)
    assert error.value.where.endswith(":2")


def test_a_question_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [{"id": "a", "prediction": "red"}, {"id": "a", "prediction": "blue"}])
    with pytest.raises(FormatError, match="for the second time"):
        read_predictions(path)


def test_missing_and_empty_answers_count_as_wrong_and_are_told(tmp_path: Path) -> None:
    right = [{"id": one.id, "prediction": one.answer} for one in QUESTIONS]
    assert accuracy(tmp_path, right, "all") == 1.0
    assert accuracy(tmp_path, right[:3], "missing") == 0.75
    assert accuracy(tmp_path, [*right[:3], {"id": "q3", "prediction": ""}], "empty") == 0.75
    told = json.loads((tmp_path / "missing" / "metrics.json").read_text())["notes"]
    assert any("which count as wrong: 1" in note for note in told)
    found = read_evaluation(tmp_path / "missing")
    assert [note for note in told if "which count as wrong: 1" in note] == list(found.amiss)
    assert found.table()[0] == ["question type", "n", "accuracy", "95 % interval"]  # nobody asked a control


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="answers none of these questions"):
        accuracy(tmp_path, [{"id": "other", "prediction": "red"}])


def test_other_answers_do_not_take_the_place_of_these(tmp_path: Path) -> None:
    accuracy(tmp_path, [{"id": "q0", "prediction": "red"}])
    with pytest.raises(ConfigError, match="differs in: model"):
        accuracy(tmp_path, [{"id": "q0", "prediction": "blue"}])


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6))
def test_holm_lies_between_the_bare_p_values_and_bonferroni(values: list[float]) -> None:
    named = {str(place): value for place, value in enumerate(values)}
    found = holm(named)
    for name, value in named.items():
        assert value <= found[name] <= min(1.0, len(values) * value) + 1e-12


def stretches(films: int, each: int) -> list[Sample]:
    """Questions about stretches of films: of a film, all are answered rightly or none is."""
    return [
        Sample(
            f"{film}-{number}",
            (Clip(f"f{film}@{number}", Path(f"day{film % 2}/f{film}.mp4"), float(number), number + 1.0),),
            (Turn("user", "What colour is it?"), Turn("assistant", "red")),
            {"type": "colour"},
        )
        for film in range(films)
        for number in range(each)
    ]


def test_stretches_of_a_film_are_drawn_together(tmp_path: Path) -> None:
    asked = stretches(8, 6)
    rows = [{"id": one.id, "answer": "red" if int(one.id[0]) % 2 else "blue"} for one in asked]
    given = read_predictions(written(tmp_path, rows))
    found = evaluate_predictions(given, asked, name="theirs", out=tmp_path / "film")
    scored = found.arms["model"].accuracy
    assert scored is not None
    assert (found.clips, found.sources, scored.sources) == (48, 8, 8)
    assert any("all clips of one source (each file)" in note for note in found.notes)
    alone = mean_interval([row["answer"] == "red" for row in rows])
    assert scored.overall.high - scored.overall.low > 2 * (alone.high - alone.low)
    days = evaluate_predictions(given, asked, name="theirs", out=tmp_path / "day", by=r"day\d")
    assert days.sources == 2
    assert {verdict.cluster for verdict in days.verdicts} == {"f0@0", "f1@0"}
    with pytest.raises(ConfigError, match="finds nothing"):
        evaluate_predictions(given, asked, name="theirs", out=tmp_path / "x", by="week")
    with pytest.raises(ConfigError, match="differs in: sources"):
        evaluate_predictions(given, asked, name="theirs", out=tmp_path / "film", by=r"day\d")
