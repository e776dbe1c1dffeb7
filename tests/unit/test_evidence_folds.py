"""Scores by models that have not learned from what they score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence_tools import folder_of, labels_in, model_in, rows_of
from training_tools import write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.evidence import folds, job
from vidapt.training.run import train

RECIPE = """
name: mine
start: nobody
data: nowhere.jsonl
stages:
  - {name: words, epochs: 1, batching: {clips: 2, blind: 0.15}, train: {language: norms}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    recipe = folder / "mine.yaml"
    recipe.write_text(RECIPE)
    return labels_in(folder / "data", clips=6), model_in(folder / "model"), recipe


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evidence", *map(str, words), "--workers", "0"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def words(world: tuple[Path, Path, Path], out: Path, *more: str) -> list[str | Path]:
    labels, model, recipe = world
    return [labels, "--start", model, "--recipe", recipe, "--out", out, *more]


class KilledError(Exception):
    """In place of a kill."""


def test_clips_are_scored_by_who_has_not_seen_them_and_a_kill_costs_no_fold(
    world: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    dies = [2]

    def dying(recipe: Any, *args: Any, **named: Any) -> Path:
        calls.append(recipe.name)
        if len(calls) == dies[0]:
            raise KilledError
        return train(recipe, *args, **named)

    monkeypatch.setattr(folds, "train", dying)
    with pytest.raises(KilledError):
        run(*words(world, tmp_path / "out.jsonl"))
    dies[0] = 0
    code, shown, told = run(*words(world, tmp_path / "out.jsonl", "--json"))
    assert code == 0, told
    assert calls == ["fold-1", "fold-2", "fold-2"]
    found = json.loads(shown)
    assert set(found["models"]) == {"1", "2"}
    assert len(set(found["models"].values())) == 2
    assert found["learned"] == 0

    rows = rows_of(tmp_path / "out.evidence.jsonl")
    assert {row["fold"] for row in rows} == {1, 2}
    for number in (1, 2):
        learned = {
            Path(row["media"][0]["path"]).name
            for row in rows_of(tmp_path / "out.folds" / f"fold-{number}.jsonl")
        }
        scored = {Path(row["clip"]).name for row in rows if row["fold"] == number}
        assert learned
        assert scored
        assert not learned & scored
        assert {row["model"] for row in rows if row["fold"] == number} == {found["models"][str(number)]}

    before = folder_of(tmp_path / "out.jsonl")
    assert run(*words(world, tmp_path / "out.jsonl"))[0] == 0
    assert calls == ["fold-1", "fold-2", "fold-2"]
    assert folder_of(tmp_path / "out.jsonl") == before

    code, _, told = run(*words(world, tmp_path / "out.jsonl", "--set", "stages.0.epochs=2"))
    assert code == 2
    assert "holds folds of other labels, or of another recipe" in told

    model = tmp_path / "out.folds" / "runs" / "fold-1"
    code, shown, told = run(world[0], "--model", model, "--out", tmp_path / "in.jsonl")
    assert code == 0
    assert f"the model has learned from {len(learned_by(tmp_path))} of the 6 clips" in told
    assert "what to do" in shown


def learned_by(folder: Path) -> set[str]:
    return {row["media"][0]["path"] for row in rows_of(folder / "out.folds" / "fold-1.jsonl")}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "needs a model"),
        (["--model", "billiards-home", "--start", "billiards-home"], "--model and --start are both given"),
        (["--model", "billiards-home", "--set", "a=1"], "--recipe and --set are for --start"),
        (["--model", "nobody"], "there is no such model"),
        (["--start", "billiards-home", "--set", "stages.0.epochs=none"], "epochs"),
        (["--model", "billiards-home", "--supported", "0", "--contradicted", "0"], "nothing would be unseen"),
        (["--model", "billiards-home", "--lexicon", "none.yaml"], "none.yaml"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(
    world: tuple[Path, Path, Path], tmp_path: Path, options: list[str], told: str
) -> None:
    code, _, shown = run(world[0], "--out", tmp_path / "out.jsonl", *options)
    assert code == 2
    assert told in shown
    assert not (tmp_path / "out.jsonl").exists()


def test_clips_that_hang_together_cannot_be_parted(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "one", clips=1)
    code, _, shown = run(labels, "--start", world[1], "--recipe", world[2], "--out", tmp_path / "out.jsonl")
    assert code == 2
    assert "all clips hang together in 1 group(s), and 2 parts are wanted" in shown


def test_a_recipe_that_makes_a_model_cannot_score(tmp_path: Path) -> None:
    from training_tools import blueprint

    recipe = tmp_path / "new.yaml"
    plain = {"name": "a", "blueprint": blueprint(), "data": "a.jsonl", "stages": [{"name": "b", "steps": 1}]}
    recipe.write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="makes a model from nothing"):
        folds.base_recipe(folds.Folds("x", 2, tmp_path / "folds", recipe))
    assert job.Request(["a"], tmp_path / "a.jsonl").folds is None
