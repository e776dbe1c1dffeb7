"""Questions about time are measured by how far stretches agree, with the same controls as all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from measure_tools import Decoding, FakeEngine, sample

from vidapt.errors import ConfigError
from vidapt.measure.evaluate import evaluate
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.report import write_report
from vidapt.metrics.accuracy import answer_of
from vidapt.metrics.question_types import question_types
from vidapt.nouns import Sample

ASKED = "when was the ball pocketed?"


def timed(number: int) -> Sample:
    return sample(f"c{number}", "when", ASKED, f"{number}.0–{number + 2}.0")


def says(clip: str | None, question: str) -> str:
    """Right about even clips, half of it about odd ones; nothing without a clip."""
    if clip is None:
        return "I do not know"
    number = int(clip[1:])
    return f"{number}.0–{number + 2}.0" if number % 2 == 0 else f"from {number + 1}.0 to {number + 3}.0 s"


def run(out: Path) -> Evaluation:
    samples = [timed(number) for number in range(4)] + [sample("c0", "colour", "what colour?", "red")]
    engine = FakeEngine(lambda clip, asked: says(clip, asked) if asked == ASKED else "red")
    return evaluate(engine, samples, out=out, decoding=Decoding(), train_samples=samples, workers=1)


def test_numbers_equal_those_counted_by_hand(tmp_path: Path) -> None:
    result = run(tmp_path)
    model, blind = result.arms["model"], result.arms["blind"]
    assert model.times is not None
    assert blind.times is not None
    assert model.times.overlap.value == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)
    assert {at: one.value for at, one in model.times.recall.items()} == {0.3: 1.0, 0.5: 0.5, 0.7: 0.5}
    assert (blind.times.overlap.value, blind.times.unread) == (0.0, 1.0)
    assert model.accuracy is not None
    assert model.accuracy.types["when"].accuracy.value == 0.5
    assert result.arms["other_clip"].times is not None
    assert result.arms["majority"].times is not None
    labels = [row[0] for row in result.rows()]
    assert [label for label in labels if label.startswith("time")] == [
        "time: mean overlap (IoU)",
        "time: recall at 0.3",
        "time: recall at 0.5",
        "time: recall at 0.7",
    ]
    assert read_evaluation(tmp_path).to_dict()["arms"] == result.to_dict()["arms"]


def test_verdicts_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    arms = run(tmp_path).to_dict()["arms"]
    path = tmp_path / "predictions.jsonl"
    header, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    for row in rows:
        del row["stretch"], row["fps"]
    path.write_text("".join(json.dumps(row) + "\n" for row in [header, *rows]), encoding="utf-8")
    assert read_evaluation(tmp_path).to_dict()["arms"] == arms


def test_the_report_shows_them(tmp_path: Path) -> None:
    run(tmp_path)
    page = tmp_path / "report.html"
    write_report(page, {"model": read_evaluation(tmp_path)})
    shown = page.read_text(encoding="utf-8")
    assert "When it says it was" in shown
    assert "66.7" in shown


def test_an_answer_that_is_a_stretch_makes_a_question_one_about_time() -> None:
    untyped = [Sample(one.id, one.media, one.turns) for one in (timed(1), timed(2))]
    kinds = question_types(untyped)
    assert [kinds.of(one) for one in untyped] == ["when", "when"]
    assert not any(kinds.is_free(one) for one in untyped)


def test_a_label_that_says_no_stretch_is_refused() -> None:
    with pytest.raises(ConfigError, match="asks when, and 'late' is no stretch of time"):
        answer_of(sample("c0", "when", ASKED, "late"), "", "when")
