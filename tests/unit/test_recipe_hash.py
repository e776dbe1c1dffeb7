"""A recipe's hash is that of what was written, wherever it lies; its runs go on by either of the two."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_tools import assert_equal, blueprint, silent, stage, trained, weights, write_clips

from vidapt.errors import ConfigError
from vidapt.recipe import Recipe, load_recipe
from vidapt.training.run import train

ROOT = Path(__file__).parents[2]

EVERYWHERE = """\
name: run
start: model
tokenizer: words
data: [labels.jsonl, {path: ../more, limit: 3}]
stages:
  - name: a
    epochs: 2
    retrieval: {general: other.jsonl}
    pairs: {falsify: 1, lexicon: facts.yaml}
    objective:
      kind: align
      terms: [{kind: distill, name: taught, teachers: {one: model}}]
"""


def written(folder: Path, text: str = EVERYWHERE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return folder / "recipe.yaml"


def test_the_same_text_has_the_same_hash_anywhere(tmp_path: Path) -> None:
    one, two = (load_recipe(written(tmp_path / name)) for name in ("one", "two"))
    assert one.start != two.start
    assert one.fingerprint == two.fingerprint
    assert one.settled != two.settled
    assert len({one.fingerprint, one.settled, two.settled}) == 3


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_have_the_same_hash_in_every_checkout(tmp_path: Path, path: Path) -> None:
    shutil.copy(path, tmp_path)
    assert load_recipe(tmp_path / path.name).fingerprint == load_recipe(path).fingerprint


def test_another_text_and_another_override_have_other_hashes(tmp_path: Path) -> None:
    path = written(tmp_path)
    hashes = {
        load_recipe(path).fingerprint,
        load_recipe(path, ["seed=1"]).fingerprint,
        load_recipe(path, given={"stages.0.retrieval.general": "another.jsonl"}).fingerprint,
        load_recipe(written(tmp_path, EVERYWHERE.replace("labels", "label"))).fingerprint,
    }
    assert len(hashes) == 4
    assert load_recipe(written(tmp_path, f"# A comment.\n{EVERYWHERE}")).fingerprint in hashes


def test_a_changed_copy_has_another_hash_and_a_whole_one_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path))
    changed = recipe.model_copy(update={"seed": 1})
    assert changed.fingerprint not in (recipe.fingerprint, recipe.settled)
    assert changed.fingerprint == changed.settled
    assert changed.model_copy(update={"seed": 0}).fingerprint == recipe.fingerprint
    for same in (recipe.model_copy(), recipe.model_copy(deep=True), pickle.loads(pickle.dumps(recipe))):
        assert same.fingerprint == recipe.fingerprint
    assert recipe.known_as("0").fingerprint == "0"
    assert recipe.fingerprint != "0"


def test_what_a_run_writes_down_settles_to_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path / "a"), ["stages.0.objective.terms.0.weight=0.00001", "seed=3"])
    copy = tmp_path / "recipe.json"
    copy.write_text(recipe.model_dump_json(indent=2), encoding="utf-8")
    again = load_recipe(copy)
    assert again.settled == recipe.settled
    assert again.fingerprint == recipe.settled


def described(labels: Path | str) -> dict[str, Any]:
    stages = [stage(Path(labels), name, steps=2, save_every=1) for name in ("a", "b")]
    return {"name": "run", "vocabulary": 300, "blueprint": blueprint(), "stages": stages}


def place(folder: Path) -> Path:
    """A folder with clips, labels and a recipe that names them by their file names."""
    write_clips(folder)
    (folder / "recipe.yaml").write_text(json.dumps(described("labels.jsonl")), encoding="utf-8")
    return folder / "recipe.yaml"


def stopped(recipe: Recipe, runs: Path) -> Path:
    """A run that was stopped in its second stage."""

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("b", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, runs, report, workers=0)
    return runs / recipe.name


def hashes(run: Path) -> list[str]:
    cards = sorted(run.glob("*/model/card.json"))
    return [json.loads(card.read_text(encoding="utf-8"))["recipe_hash"] for card in cards]


@pytest.mark.parametrize("how", ["text", "settled", "moved", "moved, then settled"])
def test_a_run_goes_on_with_its_text_and_with_what_it_wrote_down(tmp_path: Path, how: str) -> None:
    path = place(tmp_path / "here")
    recipe = load_recipe(path)
    whole = trained(recipe, tmp_path / "whole")
    run = stopped(recipe, tmp_path / "cut")
    if how.startswith("moved"):
        shutil.move(path.parent, tmp_path / "there")
        path = tmp_path / "there" / path.name
    if how == "moved, then settled":
        again = load_recipe(path)
        with pytest.raises(KeyboardInterrupt):
            train(again, tmp_path / "cut", stop_at_once, workers=0, resume=True)
    other = run / "recipe.json" if how.endswith("settled") else path
    train(load_recipe(other), tmp_path / "cut", silent, workers=0, resume=True)
    assert hashes(run) == [recipe.fingerprint] * 2
    assert_equal(weights(run), whole)


def stop_at_once(task: str, done: int, total: int, note: str = "") -> None:
    if task == "b":
        raise KeyboardInterrupt


def test_a_run_is_not_resumed_by_a_changed_text_wherever_it_lies(tmp_path: Path) -> None:
    path = place(tmp_path / "here")
    run = stopped(load_recipe(path), tmp_path / "runs")
    for other in (path, run / "recipe.json"):
        told = r"another version of the recipe, .* seed\n  -> use .*recipe\.json"
        with pytest.raises(ConfigError, match=told):
            train(load_recipe(other, ["seed=5"]), tmp_path / "runs", silent, workers=0, resume=True)


def test_a_run_from_before_both_hashes_were_kept_goes_on(tmp_path: Path) -> None:
    path = place(tmp_path / "here")
    recipe = load_recipe(path)
    run = stopped(recipe, tmp_path / "runs")
    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del state["settled"]
    (run / "run.json").write_text(json.dumps({**state, "recipe": recipe.settled}), encoding="utf-8")
    train(load_recipe(path), tmp_path / "runs", silent, workers=0, resume=True)
    # The first stage's card is as it was written; the second one's tells what the run was known as.
    assert hashes(run) == [recipe.fingerprint, recipe.settled]
