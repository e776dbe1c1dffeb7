"""A run that diverged is rescued: it goes on from a checkpoint with other values, and writes that down."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_tools import assert_equal, recipe, silent, stage, trained, weights, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError, VidaptError
from vidapt.recipe import Recipe, load_recipe
from vidapt.training.run import train

HOT, COOL = 1e-2, 1e-3
STEPS = 8


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


def plan_of(labels: Path, rate: float = HOT, **changes: Any) -> Recipe:
    rates = {"towers": rate, "connector": rate, "language": rate}
    settings = {"steps": STEPS, "save_every": 2, "optimizer": {"rates": rates, "decay": "constant"}}
    return recipe(stage(labels, **{**settings, **changes}))


def stopped(plan: Recipe, runs: Path, step: int, **options: Any) -> Path:
    """Train until a step is done, as if the power failed then."""

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a" and done == step:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, runs, report, workers=0, **options)
    return runs / "run"


def state(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


RATES = [f"stages.0.optimizer.rates.{part}" for part in ("towers", "connector", "language")]


def test_a_run_goes_on_with_other_rates_and_says_so(labels: Path, tmp_path: Path) -> None:
    hot, cool = plan_of(labels), plan_of(labels, COOL)
    run = stopped(hot, tmp_path, 4)
    heard: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        heard.append(f"{task}: {note}")

    train(cool, tmp_path, report, workers=0, resume=True, changes=["stages.0.optimizer.rates"])
    (fork,) = state(run)["forks"]
    assert fork == {
        "stage": "01-a",
        "step": 4,
        "changed": {place: [HOT, COOL] for place in sorted(RATES)},
    }
    assert any("01-a: changed: from step 4: stages.0.optimizer.rates" in line for line in heard)
    assert json.loads((run / "01-a" / "model" / "card.json").read_text())["forks"] == [fork]
    log = [json.loads(line) for line in (run / "01-a" / "work" / "metrics.jsonl").read_text().splitlines()]
    (marked,) = [row for row in log if any(key.startswith("fork/") for key in row)]
    assert marked["step"] == 5
    assert {marked[f"fork/{place}"] for place in RATES} == {COOL}
    assert marked["rate/language"] == COOL
    assert load_recipe(run / "recipe.json").stages[0].optimizer.rates.language == COOL


def test_the_rates_are_those_of_the_fork_and_the_steps_before_are_kept(labels: Path, tmp_path: Path) -> None:
    stopped(plan_of(labels), tmp_path / "forked", 4)
    forked = trained(plan_of(labels, COOL), tmp_path / "forked", resume=True, changes=RATES)
    hot, cool = trained(plan_of(labels), tmp_path / "hot"), trained(plan_of(labels, COOL), tmp_path / "cool")
    assert any(not torch.equal(forked[name], hot[name]) for name in hot)
    assert any(not torch.equal(forked[name], cool[name]) for name in hot)


def test_a_fork_is_interrupted_and_resumed_to_the_same_weights_however_the_recipe_is_given(
    labels: Path, tmp_path: Path
) -> None:
    hot, cool = plan_of(labels), plan_of(labels, COOL)
    for runs in ("whole", "cut", "own", "first"):
        stopped(hot, tmp_path / runs, 4)
    expected = trained(cool, tmp_path / "whole", resume=True, changes=RATES)
    for runs in ("cut", "own", "first"):
        stopped(cool, tmp_path / runs, 7, resume=True, changes=RATES)
    # The same command again, the run's own recipe, and the recipe as it was at first.
    assert_equal(trained(cool, tmp_path / "cut", resume=True, changes=RATES), expected)
    own = load_recipe(tmp_path / "own" / "run" / "recipe.json")
    assert_equal(trained(own, tmp_path / "own", resume=True), expected)
    assert_equal(trained(hot, tmp_path / "first", resume=True), expected)
    for runs in ("cut", "own", "first"):
        assert state(tmp_path / runs / "run")["forks"] == state(tmp_path / "whole" / "run")["forks"]


def test_a_fork_is_forked_again(labels: Path, tmp_path: Path) -> None:
    run = stopped(plan_of(labels), tmp_path, 2)
    stopped(plan_of(labels, COOL), tmp_path, 5, resume=True, changes=RATES)
    longer = plan_of(labels, COOL, steps=STEPS + 3, save_minutes=5.0)
    named = ["stages.-1.steps", "stages.0.save_minutes"]
    train(longer, tmp_path, silent, workers=0, resume=True, changes=named)
    first, second = state(run)["forks"]
    assert (first["step"], second["step"]) == (2, 4)
    assert second["changed"] == {"stages.0.save_minutes": [None, 5.0], "stages.0.steps": [STEPS, STEPS + 3]}
    assert state(run)["stages"]["01-a"]["steps"] == STEPS + 3


def test_what_is_not_asked_for_by_name_is_not_changed(labels: Path, tmp_path: Path) -> None:
    run = stopped(plan_of(labels), tmp_path, 4)
    before = (run / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"differs in stages\.0\.optimizer\.rates\.connector"):
        train(plan_of(labels, COOL), tmp_path, silent, workers=0, resume=True)
    assert (run / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"batching": {"clips": 3}}, "stages.0.batching.clips"),
        ({"precision": "bfloat16"}, "stages.0.precision"),
        ({"optimizer": {"betas": [0.5, 0.9]}}, "stages.0.optimizer.betas.0"),
        ({"train": {"language": "frozen"}}, "stages.0.train.language"),
    ],
)
def test_anything_else_is_refused_and_what_may_be_changed_is_listed(
    labels: Path, tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    stopped(plan_of(labels), tmp_path, 4)
    other = plan_of(labels, **change)
    with pytest.raises(ConfigError) as refused:
        train(other, tmp_path, silent, workers=0, resume=True, changes=[place, "stages.0.optimizer"])
    assert place in refused.value.found
    for may in ("optimizer.rates", "warmup", "decay", "floor", "clip_norm", "steps", "epochs", "save_every"):
        assert may in refused.value.remedy


def test_a_finished_stage_is_not_changed(labels: Path, tmp_path: Path) -> None:
    def plan(rate: float) -> Recipe:
        first, second = plan_of(labels, rate, steps=2).stages[0], plan_of(labels).stages[0]
        return recipe(first.model_dump(), {**second.model_dump(), "name": "b"})

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("b", 2):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan(HOT), tmp_path, report, workers=0)
    with pytest.raises(ConfigError, match="belongs to a stage that is finished"):
        train(plan(COOL), tmp_path, silent, workers=0, resume=True, changes=RATES)


def diverging(labels: Path, **changes: Any) -> Recipe:
    """Rates so high that the loss is no number after some steps."""
    return plan_of(labels, 1.0, save_every=1, steps=40, **changes)


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_a_diverged_run_says_the_command_that_rescues_it(
    labels: Path, tmp_path: Path, clip_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = diverging(labels)
    spoilt = plan.stages[0].optimizer.model_copy(update={"clip_norm": clip_norm})
    plan = plan.model_copy(update={"stages": (plan.stages[0].model_copy(update={"optimizer": spoilt}),)})
    spoil_a_weight_after(3, monkeypatch)
    with pytest.raises(VidaptError, match="stage a, step") as told:
        train(plan, tmp_path, silent, workers=0)
    monkeypatch.undo()
    run = tmp_path / "run"
    kept = sorted((run / "01-a" / "work").glob("checkpoint-*"))
    assert kept
    for checkpoint in kept:
        assert all(torch.isfinite(t).all() for t in load_file(checkpoint / "trainable.safetensors").values())
    command = next(line for line in str(told.value).splitlines() if "vidapt train" in line)
    program, *words = shlex.split(command)
    assert program == "vidapt"
    assert "--resume" in words
    assert "stages.0.optimizer.rates.language=0.1" in words
    assert ("stages.0.optimizer.clip_norm=1.0" in words) == (clip_norm is None)
    done = CliRunner().invoke(app, [*words, "--set", "stages.0.steps=5", "--workers", "0"])
    assert done.exit_code == 0, done.output
    assert all(torch.isfinite(tensor).all() for tensor in weights(run).values())
    assert math.isfinite(state(run)["stages"]["01-a"]["loss"])


def spoil_a_weight_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """Make a weight infinite in a step, as a gradient without bound would."""
    taken = torch.optim.AdamW.step
    count = 0

    def spoiling(self: torch.optim.AdamW, *args: Any) -> Any:
        nonlocal count
        count += 1
        result = taken(self, *args)
        if count == step:
            with torch.no_grad():
                self.param_groups[0]["params"][0].view(-1)[0] = math.inf
        return result

    patch.setattr(torch.optim.AdamW, "step", spoiling)


def test_a_weight_that_is_not_finite_is_never_saved(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_a_weight_after(3, monkeypatch)
    with pytest.raises(VidaptError, match=r"stage a, step 3: .* is not finite any more"):
        train(plan_of(labels, save_every=1), tmp_path, silent, workers=0)
    names = sorted(path.name for path in (tmp_path / "run" / "01-a" / "work").glob("checkpoint-*"))
    assert names == ["checkpoint-00000001", "checkpoint-00000002"]


def test_an_older_checkpoint_can_be_chosen(labels: Path, tmp_path: Path) -> None:
    run = stopped(plan_of(labels), tmp_path / "cut", 6)
    work = run / "01-a" / "work"
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 5\n.*\[4, 6\]"):
        train(plan_of(labels), tmp_path / "cut", silent, workers=0, resume=True, from_step=5)
    stopped(plan_of(labels, COOL), tmp_path / "cut", 5, resume=True, changes=RATES, from_step=4)
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-00000004"]
    assert state(run)["forks"][0]["step"] == 4
    stopped(plan_of(labels), tmp_path / "other", 4)
    expected = trained(plan_of(labels, COOL), tmp_path / "other", resume=True, changes=RATES)
    assert_equal(trained(plan_of(labels, COOL), tmp_path / "cut", resume=True), expected)


def test_saving_by_minutes_changes_no_result(labels: Path, tmp_path: Path) -> None:
    seldom = plan_of(labels, save_every=1000)
    often = plan_of(labels, save_every=1000, save_minutes=1e-9)
    expected = trained(seldom, tmp_path / "whole")
    stopped(seldom, tmp_path / "seldom", 5)
    assert list((tmp_path / "seldom" / "run" / "01-a" / "work").glob("checkpoint-*")) == []
    run = stopped(often, tmp_path / "often", 5)
    names = sorted(path.name for path in (run / "01-a" / "work").glob("checkpoint-*"))
    assert names == ["checkpoint-00000004", "checkpoint-00000005"]
    assert_equal(trained(often, tmp_path / "often", resume=True), expected)


def test_fewer_steps_than_are_done_are_refused_and_nothing_is_written(labels: Path, tmp_path: Path) -> None:
    run = stopped(plan_of(labels), tmp_path, 4)
    before = {path: path.read_bytes() for path in run.glob("*.json")}
    with pytest.raises(ConfigError, match=r"stages\.0\.steps: is 3, and 4 are done"):
        train(plan_of(labels, steps=3), tmp_path, silent, workers=0, resume=True, changes=["stages.0.steps"])
    assert {path: path.read_bytes() for path in run.glob("*.json")} == before


def test_a_run_that_is_not_there_is_told_and_has_no_step_to_go_on_from(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run yet"):
        train(plan_of(labels), tmp_path, silent, workers=0, resume=True, from_step=5)
    (tmp_path / "plan.yaml").write_text(plan_of(labels, steps=1).to_json(), encoding="utf-8")
    words = ["train", str(tmp_path / "plan.yaml"), "--runs", str(tmp_path / "runs"), "--resume"]
    shown = CliRunner().invoke(app, [*words, "--workers", "0"])
    assert shown.exit_code == 0, shown.output
    assert "begun anew" in shown.stderr


@pytest.mark.parametrize("damage", [{"finished": 5}, {"finished": None}, {"stages": None}, {"models": None}])
def test_a_damaged_state_is_said_to_be_one(labels: Path, tmp_path: Path, damage: dict[str, Any]) -> None:
    run = stopped(plan_of(labels), tmp_path, 4)
    (run / "run.json").write_text(json.dumps({**state(run), **damage}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"run\.json: is damaged"):
        train(plan_of(labels), tmp_path, silent, workers=0, resume=True)


def test_a_torn_log_and_odd_files_beside_checkpoints_do_not_stop_a_run(labels: Path, tmp_path: Path) -> None:
    run = stopped(plan_of(labels), tmp_path, 4)
    work = run / "01-a" / "work"
    with (work / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe torn")
    (work / ".checkpoint-x").touch()
    train(plan_of(labels), tmp_path, silent, workers=0, resume=True)
    assert state(run)["finished"] == ["01-a"]
