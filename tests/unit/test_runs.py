"""Runs are listed as they stand, whatever became of their folders, and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_tools import recipe, silent, stage, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.locks import owned, owner_of
from vidapt.measure.runs import compare_runs, describe_run, list_runs
from vidapt.training.run import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    labels = write_clips(folder / "clips")
    train(
        recipe(stage(labels, steps=2), stage(labels, "b", steps=3), name="whole"), folder, silent, workers=0
    )

    def stops(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("b", 2):
            raise RuntimeError

    cut = recipe(stage(labels, steps=2), stage(labels, "b", steps=4, save_every=1), name="cut", seed=1)
    with pytest.raises(RuntimeError):
        train(cut, folder, stops, workers=0)
    return folder


def command(*words: Any) -> Any:
    return CliRunner().invoke(app, ["runs", *(str(word) for word in words)])


def test_a_finished_and_a_stopped_run(runs: Path) -> None:
    found = {run.name: run for run in list_runs(runs)}
    assert set(found) == {"whole", "cut"}
    whole, cut = found["whole"], found["cut"]
    assert (whole.state, cut.state) == ("finished", "stopped")
    assert [(one.name, one.finished, one.steps) for one in whole.stages] == [
        ("01-a", True, 2),
        ("02-b", True, 3),
    ]
    assert [(one.name, one.finished, one.steps) for one in cut.stages] == [
        ("01-a", True, 2),
        ("02-b", False, 2),
    ]
    kept = json.loads((runs / "whole" / "run.json").read_text())["stages"]["02-b"]
    assert (whole.stages[1].loss, whole.stages[1].seconds) == (kept["loss"], kept["seconds"])
    assert cut.stages[1].seconds is None
    assert whole.model_bytes == (runs / "whole" / "02-b" / "model" / "model.safetensors").stat().st_size
    assert cut.model_bytes == (runs / "cut" / "01-a" / "model" / "model.safetensors").stat().st_size
    assert cut.planned == 2


def test_a_run_at_work(runs: Path) -> None:
    assert owner_of(runs / "cut") is None
    with owned(runs / "cut"):
        assert describe_run(runs / "cut").state == "running"
    assert describe_run(runs / "cut").state == "stopped"


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_damaged_run_is_told_and_the_others_are_listed(runs: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text(text)
    (tmp_path / "good").symlink_to(runs / "whole")
    found = {run.name: run for run in list_runs(tmp_path)}
    assert (found["bad"].state, found["good"].state) == ("damaged", "finished")
    assert "recipe.json is missing" in found["bad"].damage
    assert "run.json" in found["bad"].damage
    done = command("list", tmp_path)
    assert done.exit_code == 0
    assert "recipe.json is missing" in done.output


def test_two_runs_are_compared(runs: Path) -> None:
    found = compare_runs(runs / "whole", runs / "cut")
    assert found.recipe["seed"] == (0, 1)
    assert found.recipe["stages.1.steps"] == (3, 4)
    assert "stages.0.steps" not in found.recipe
    assert "name" not in found.recipe
    assert found.numbers["02-b steps"] == (3.0, 2.0)
    assert found.numbers["02-b seconds"][1] is None
    told = json.loads(command("compare", runs / "whole", runs / "cut", "--json").output)
    assert told["recipe"]["seed"] == [0, 1]
    with pytest.raises(ConfigError, match="is no run"):
        compare_runs(runs / "whole", runs / "clips")


def test_as_json_and_refusals(runs: Path, tmp_path: Path) -> None:
    rows = json.loads(command("list", runs, "--json").output)
    assert {row["name"] for row in rows} == {"whole", "cut"}
    done = command("list", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "there is no such folder" in done.output
