"""Evaluation from label file to report, with a real (tiny, random) model on simulated clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from caption_tools import save_tiny_model

from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.command import Asking, evaluate_model, evaluate_models
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.evaluation import read_evaluation
from vidapt.models.decoding import Decoding
from vidapt.worlds.billiards import simulate

CLIPS = 5
KINDS = ("count", "shirt", "break", "caption")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a data set of which one clip is empty."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny_model(folder / "model")
    simulate(folder / "pool", clips=CLIPS, venue="club", seed=3, workers=1)
    (folder / "pool/clips/000003.mp4").write_bytes(b"")
    return folder


def verdicts(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()[1:]]


def test_a_label_file_becomes_verdicts_numbers_and_a_report(made: Path, tmp_path: Path) -> None:
    labels = made / "pool/labels.jsonl"
    result = evaluate_model(
        made / "model", Asking(labels, train_data=labels, workers=0, max_tokens=4), tmp_path
    )
    questions = [s for s in open_samples(labels) if s.media[0].path.stem != "000003"]
    assert {row["sample"] for row in verdicts(tmp_path)} == {sample.id for sample in questions}
    assert set(result.arms) == {"model", "blind", "other_clip", "majority"}
    assert result.arms["model"].claims is not None
    majority = result.arms["majority"].accuracy
    assert majority is not None
    assert majority.macro.value > 0.5  # it has seen the answers; a random model has not
    (bad,) = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(bad)["clip"] == "clips/000003.mp4"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["questions"] == len(questions)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:video/mp4;base64,") == CLIPS - 1
    assert read_evaluation(tmp_path).to_dict() == result.to_dict()


def test_a_stopped_evaluation_of_a_real_model_ends_with_the_same_verdicts(made: Path, tmp_path: Path) -> None:
    labels = made / "pool/labels.jsonl"
    engine = load(made / "model")
    samples = [s for s in open_samples(labels) if s.facts["type"] in KINDS]

    def run(out: Path, stop_after: int | None = None) -> None:
        calls = 0

        def report(task: str, done: int, total: int, note: str = "") -> None:
            nonlocal calls
            calls += 1
            if calls == stop_after:
                raise KeyboardInterrupt

        evaluate(
            engine,
            samples,
            out=out,
            decoding=Decoding(max_new_tokens=4),
            workers=0,
            judge=world_judge(labels.parent),
            report=report,
            questions_at_once=8,  # two clips a portion
        )

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=1)
    assert 0 < len(verdicts(tmp_path / "stopped")) < len(verdicts(tmp_path / "whole"))
    shutil.copytree(tmp_path / "stopped", tmp_path / "torn")
    with (tmp_path / "torn/predictions.jsonl").open("ab") as file:
        file.write(b'{"number": 7, "samp')
    run(tmp_path / "stopped")
    run(tmp_path / "torn")
    assert verdicts(tmp_path / "stopped") == verdicts(tmp_path / "whole") == verdicts(tmp_path / "torn")
    said = {
        row["predictions"]["model"] != row["predictions"]["other_clip"]
        for row in verdicts(tmp_path / "whole")
    }
    assert True in said  # the clip matters to this model, so the comparison means something


def test_several_models_and_a_file_of_answers_are_compared_with_the_first(made: Path, tmp_path: Path) -> None:
    labels = made / "pool/labels.jsonl"
    truth = tmp_path / "truth.jsonl"
    truth.write_text(
        "".join(json.dumps({"id": s.id, "prediction": s.answer}) + "\n" for s in open_samples(labels))
    )
    out = tmp_path / "out"
    asking = Asking(labels, controls=(), workers=0, max_tokens=4)
    found = evaluate_models([made / "model", truth], asking, out)
    (gap,) = found.differences
    assert (gap.name, gap.words) == ("truth", "better")
    accuracy = gap.comparison.accuracy
    assert accuracy is not None
    assert accuracy.mcnemar.only_a == 0
    assert accuracy.mcnemar.p_value == gap.p_value < 0.01
    assert json.loads((out / "metrics.json").read_text())["differences"][0]["words"] == "better"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "were given in a file" in page
    assert "not measurably" not in page
    seen = (out / "model" / "predictions.jsonl").read_bytes()
    again = evaluate_models([made / "model", truth], asking, out)
    assert (out / "model" / "predictions.jsonl").read_bytes() == seen
    assert again.to_dict() == found.to_dict()
