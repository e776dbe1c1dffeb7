"""The ladder at a small budget: arms, shared stages, gains, kills and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_tools import blueprint, silent, stage, tokenizer, video_lm, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.locks import TakenError, owned
from vidapt.measure.ablate import carry_out
from vidapt.measure.ablate.arms import arms_of, stage_keys
from vidapt.measure.ablate.carry_out import ablate
from vidapt.measure.ablate.result import Ablation
from vidapt.models.folder import save_model

RATE = "stages.1.optimizer.rates.language=0.001"


def write_recipe(folder: Path, *stages: dict[str, Any], **changes: Any) -> Path:
    if not (folder / "start").exists():
        save_model(folder / "start", video_lm(), tokenizer(), {})
    given = {"name": "ladder", "start": str(folder / "start"), "stages": list(stages), **changes}
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(given))), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`recipe.yaml` of two stages, of which the second learns what the test asks."""
    made = tmp_path_factory.mktemp("ablate")
    labels, few = write_clips(made / "clips"), write_clips(made / "few", clips=1, questions=1)
    write_recipe(
        made, stage(few, "warm", steps=4, save_every=4), stage(labels, "main", steps=50, save_every=50)
    )
    return made


def arms(folder: Path, *sets: str, drops: tuple[str, ...] = ("main",), seeds: int = 2) -> list[Any]:
    return arms_of(folder / "recipe.yaml", drops, sets, seeds, 0.5)


def carried_out(folder: Path, out: Path, *sets: str, report: Any = silent, **options: Any) -> Ablation:
    test = folder / "clips" / "labels.jsonl"
    return ablate(arms(folder, *sets, **options), out, report, test=test, workers=0, max_tokens=8, budget=0.5)


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Path, Ablation, list[str]]:
    """What was made of it, and which stages were trained, in order."""
    trained: list[str] = []

    def report(task: str, step: int, total: int, note: str = "") -> None:
        if step == total and task.endswith((": warm", ": main")):
            trained.append(task)

    out = folder / "out"
    return out, carried_out(folder, out, RATE, report=report), trained


def test_a_stage_that_arms_have_in_common_is_trained_once(done: tuple[Path, Ablation, list[str]]) -> None:
    out, found, trained = done
    stages = [task.rpartition(": ")[2] for task in trained]
    assert stages.count("warm") == 2, "once for each seed"
    assert stages.count("main") == 4, "of the recipe as it is, and with the other rate"
    assert [arm.reused for arm in found.arms] == [0, 2, 2]
    base, dropped = (out / "runs" / arm.runs[0] / "01-warm" / "model" for arm in found.arms[:2])
    file = "model.safetensors"
    assert (base / file).read_bytes() == (dropped / file).read_bytes()
    assert (base / file).samefile(dropped / file)
    assert len(list((out / "runs" / ".cache").iterdir())) == 1


def test_the_lengths_are_those_of_the_budget(done: tuple[Path, Ablation, list[str]]) -> None:
    out, found, _ = done
    state = json.loads((out / "runs" / found.arms[0].runs[0] / "run.json").read_text(encoding="utf-8"))
    assert [one["steps"] for one in state["stages"].values()] == [2, 25]


def test_gains_are_paired_and_tell_which_stage_earned_its_cost(
    done: tuple[Path, Ablation, list[str]],
) -> None:
    out, found, _ = done
    base, dropped, slow = found.arms
    for arm in found.arms:
        assert arm.score.value == pytest.approx(sum(arm.seeds) / 2)
        assert arm.gain.value == pytest.approx(arm.score.value - base.score.value)
    assert base.score.value > dropped.score.value
    (worth,) = found.stages
    assert worth.stage == "main"
    assert worth.adds.value == pytest.approx(-dropped.gain.value)
    assert worth.seconds == pytest.approx(base.seconds - dropped.seconds)
    assert worth.per_minute == pytest.approx(60 * worth.adds.value / worth.seconds)
    assert slow.label == RATE
    kept = json.loads((out / "ablation.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(found.to_dict()))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Which stage earned its cost" in page
    assert "Test data is training data" in page


def test_the_same_again_trains_and_asks_nothing(
    folder: Path, done: tuple[Path, Ablation, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found, _ = done

    def never(*rest: Any, **options: Any) -> None:
        raise AssertionError(rest)

    monkeypatch.setattr(carry_out, "train", never)
    monkeypatch.setattr(carry_out, "load", never)
    again = carried_out(folder, out, RATE)
    assert [arm.score for arm in again.arms] == [arm.score for arm in found.arms]
    assert [arm.reused for arm in again.arms] == [0, 2, 2]


@pytest.mark.parametrize("at", ["base-seed0", "set-seed1", "drop-seed1"])
def test_a_killed_ablation_goes_on_to_the_same_numbers(
    folder: Path, tmp_path: Path, done: tuple[Path, Ablation, list[str]], at: str
) -> None:
    def killed(task: str, step: int, total: int, note: str = "") -> None:
        if task.startswith(at) and step > 0:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        carried_out(folder, tmp_path, RATE, report=killed)
    again = carried_out(folder, tmp_path, RATE)
    assert [arm.score for arm in again.arms] == [arm.score for arm in done[1].arms]


def test_two_at_once_in_one_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    with owned(tmp_path / "out"), pytest.raises(TakenError):
        carried_out(folder, tmp_path / "out")


def test_keys_tell_what_a_stage_depends_on(folder: Path) -> None:
    base, dropped, slow = (arm.recipe for arm in arms(folder, RATE, drops=("warm",)))
    assert stage_keys(base)[0] == stage_keys(slow)[0]
    assert stage_keys(base)[1] != stage_keys(slow)[1]
    assert stage_keys(dropped)[0] not in stage_keys(base), "without `warm`, `main` begins with other weights"
    other = base.model_copy(update={"seed": base.seed + 1})
    assert not set(stage_keys(other)) & set(stage_keys(base))


def test_where_a_tokenizer_is_learned_it_depends_on_the_labels_of_all_stages(
    folder: Path, tmp_path: Path
) -> None:
    clips, few = (folder / name / "labels.jsonl" for name in ("clips", "few"))
    made = {"start": None, "blueprint": blueprint(), "vocabulary": 300}
    file = write_recipe(tmp_path, stage(few, "a"), stage(clips, "b"), **made)
    base, dropped = (arm.recipe for arm in arms_of(file, ["b"], (), 1))
    assert stage_keys(base)[0] != stage_keys(dropped)[0]


@pytest.mark.parametrize(
    ("drops", "sets", "said"),
    [
        ((), (), "nothing to compare"),
        (("mian",), (), "did you mean 'main'"),
        ((), ("stages.1.steps=50",), "changes nothing"),
        ((), ("seed=5",), "changes nothing"),
        ((), ("stages.1.step=80",), "step"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(
    folder: Path, drops: tuple[str, ...], sets: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        arms(folder, *sets, drops=drops)


def test_the_command_refuses_what_it_cannot_do_before_anything_is_trained(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    recipe = ["ablate", str(folder / "recipe.yaml"), "--drop", "main", "--out", str(out)]
    for more, said in (([], "no test data"), (["--test", str(tmp_path / "none")], "is not there")):
        result = CliRunner().invoke(app, [*recipe, *more])
        assert result.exit_code == 2
        assert said in result.output
    only = write_recipe(tmp_path, stage(folder / "clips" / "labels.jsonl", "only"))
    result = CliRunner().invoke(app, ["ablate", str(only), "--drop", "only", "--out", str(out)])
    assert result.exit_code == 2
    assert "the only stage" in result.output
    assert not out.exists()


def test_the_set_that_a_recipe_measures_is_the_test_where_none_is_given(folder: Path, tmp_path: Path) -> None:
    labels = folder / "clips" / "labels.jsonl"
    measured = {"measure": {"in_domain": str(folder / "few" / "labels.jsonl")}, "steps": 2, "save_every": 2}
    file = write_recipe(tmp_path, stage(labels, "a", steps=2, save_every=2), stage(labels, "b", **measured))
    args = [
        "ablate",
        str(file),
        "--drop",
        "b",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "0",
    ]
    result = CliRunner().invoke(app, [*args, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["questions"] == 1
