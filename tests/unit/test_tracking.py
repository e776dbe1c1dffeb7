"""Numbers of steps reach the trackers that are asked for, and no tracker can stop training."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from training_tools import recipe, silent, stage, write_clips

from vidapt.errors import ConfigError
from vidapt.training.run import train
from vidapt.training.tracking.trackers import Tracked, Trackers, kinds

Logged = list[tuple[str, Any]]


def library(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """A library that is installed as far as anybody can see."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for member, value in members.items():
        setattr(module, member, value)
    monkeypatch.setitem(sys.modules, name, module)


def fake_wandb(monkeypatch: pytest.MonkeyPatch, seen: Logged, *, fails: str = "") -> None:
    class Run:
        def log(self, data: dict[str, Any], step: int | None = None) -> None:
            if fails == "log":
                raise ConnectionError("no network\nat all")
            seen.append(("log", (step, dict(data))))

        def finish(self) -> None:
            seen.append(("finish", None))

    def init(
        *,
        project: str,
        group: str,
        name: str,
        dir: str,  # noqa: A002
        config: dict[str, Any],
        mode: str,
    ) -> Run:
        if fails == "init":
            raise RuntimeError("no key")
        seen.append(("init", (project, group, name, mode, Path(dir).name, config["name"])))
        return Run()

    library(monkeypatch, "wandb", init=init)


def run_with(track: list[str], tmp_path: Path, **changes: Any) -> tuple[Path, list[str]]:
    told: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task.endswith("note"):
            told.append(note)

    plan = recipe(stage(write_clips(tmp_path / "clips"), steps=12, **changes))
    return train(plan, tmp_path / "runs", report, workers=0, track=track), told


def test_wandb_gets_what_the_log_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    seen: Logged = []
    fake_wandb(monkeypatch, seen)
    run, told = run_with(["wandb"], tmp_path)
    assert seen[0] == ("init", ("vidapt", "run", "run/01-a", "offline", "work", "run"))
    assert [step for kind, value in seen if kind == "log" for step in [value[0]]] == [10, 12]
    assert {"loss", "rate/language"} <= seen[1][1][1].keys()
    assert seen[-1] == ("finish", None)
    assert not told
    assert not list(run.rglob("tensorboard"))


def test_mlflow_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    seen: Logged = []

    class MlflowClient:
        def __init__(self, tracking_uri: str) -> None:
            seen.append(("uri", tracking_uri))

        def get_experiment_by_name(self, name: str) -> Any:
            return None

        def create_experiment(self, name: str) -> str:
            return f"id of {name}"

        def create_run(self, experiment_id: str, run_name: str) -> Any:
            seen.append(("run", (experiment_id, run_name)))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="7"))

        def set_tag(self, run_id: str, key: str, value: str) -> None:
            seen.append(("tag", (run_id, key, value)))

        def log_metric(self, run_id: str, key: str, value: float, step: int) -> None:
            seen.append(("metric", (run_id, key, step)))

        def set_terminated(self, run_id: str) -> None:
            seen.append(("end", run_id))

    library(monkeypatch, "mlflow", MlflowClient=MlflowClient)
    run_with(["mlflow"], tmp_path)
    assert seen[0][1].startswith("sqlite:///")
    assert ("run", ("id of run", "run/01-a")) in seen
    assert ("metric", ("7", "loss", 12)) in seen
    assert seen[-1] == ("end", "7")


def test_trackio_gets_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Logged = []

    class Run:
        def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
            seen.append(("log", step))

        def finish(self) -> None:
            seen.append(("finish", None))

    def init(project: str, name: str | None = None, *, config: dict[str, Any], embed: bool = True) -> Run:
        seen.append(("init", (project, name)))
        return Run()

    library(monkeypatch, "trackio", init=init)
    run_with(["trackio"], tmp_path)
    assert seen == [("init", ("run", "01-a from step 0")), ("log", 10), ("log", 12), ("finish", None)]


@pytest.mark.parametrize("fails", ["init", "log"])
def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    seen: Logged = []
    fake_wandb(monkeypatch, seen, fails=fails)
    run, told = run_with(["wandb", "tensorboard"], tmp_path)
    wanted = {"init": "RuntimeError: no key", "log": "ConnectionError: no network"}[fails]
    assert told == [f"wandb is left out from here on: {wanted}"]
    assert list(run.rglob("events*"))
    assert (run / "01-a" / "model").is_dir()


def test_what_is_not_there_is_refused_before_work(tmp_path: Path) -> None:
    assert kinds() == ["mlflow", "tensorboard", "trackio", "wandb"]
    plan = recipe(stage(write_clips(tmp_path / "clips")))
    with pytest.raises(ConfigError, match=r"(?s)no tracker 'tensorbord'.*did you mean 'tensorboard'"):
        train(plan, tmp_path / "runs", silent, workers=0, track=["tensorbord"])
    with pytest.raises(ConfigError, match=r"(?s)wandb is not installed.*pip install wandb"):
        train(plan, tmp_path / "runs", silent, workers=0, track=["wandb"])
    assert not (tmp_path / "runs").exists()


def test_none_at_all(tmp_path: Path) -> None:
    trackers = Trackers(lambda told: pytest.fail(told))
    trackers.log({"loss": 1.0}, 3)
    trackers.close()
    assert Tracked("run", "01-a", tmp_path, {}, 0).done == 0
