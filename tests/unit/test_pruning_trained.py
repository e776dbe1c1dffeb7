"""Learning, measuring, planning and asking with visual tokens left out, wherever they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pruning_tools import moving
from training_tools import assert_equal, blueprint, recipe, silent, stage, train, trained, video_lm, weights
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.varied import with_keep
from vidapt.models.pruning import with_pruning
from vidapt.recipe import Prune, Reads, Recipe
from vidapt.video import write_mp4

FROZEN = {"towers": "frozen", "connector": "full", "language": "full"}
EXACT = {"keep": "features", "dtype": "exact"}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips in which a little moves, each in its own way, with two questions each."""
    folder = tmp_path_factory.mktemp("moving")
    rows = []
    for clip in range(4):
        write_mp4(folder / f"{clip}.mp4", moving(6, side=32, seed=clip).numpy(), 6)
        rows += [
            {"video": f"{clip}.mp4", "question": f"what is {n}?", "answer": f"it is {clip + n}."}
            for n in (1, 2)
        ]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "labels.jsonl"


def plan(labels: Path, prune: dict[str, Any] | None, **changes: Any) -> Recipe:
    how = {"kind": "framed", "pool": "average", "order": "pool_first", "newline": "one"}
    if prune is not None:
        how["prune"] = prune
    learned = stage(labels, train=FROZEN, **changes)
    return recipe(learned, blueprint=blueprint(resolution=how, frames={"policy": "uniform", "count": 5}))


@pytest.mark.parametrize("prune", [{"keep": 0.5}, {"threshold": 0.03}], ids=str)
def test_kept_features_frames_and_nothing_kept_learn_the_same(
    labels: Path, tmp_path: Path, prune: dict[str, float]
) -> None:
    kept = trained(plan(labels, prune, cache=EXACT), tmp_path / "features")
    assert_equal(kept, trained(plan(labels, prune, cache={"keep": "frames"}), tmp_path / "frames"))
    assert_equal(kept, trained(plan(labels, prune, cache={"keep": "nothing"}), tmp_path / "nothing"))
    again = trained(plan(labels, prune, cache=EXACT), tmp_path / "features", resume=True)
    assert_equal(kept, again)


def test_packed_steps_are_those_of_separate_samples(labels: Path, tmp_path: Path) -> None:
    shared = trained(plan(labels, {"keep": 0.4}, cache=EXACT), tmp_path / "shared")
    apart = {"clips": 2, "shared_prefix": False}
    separate = trained(plan(labels, {"keep": 0.4}, cache=EXACT, batching=apart), tmp_path / "separate")
    for name, weight in shared.items():
        assert torch.allclose(weight, separate[name], atol=2e-4), name


def test_shares_have_caches_of_their_own_and_all_of_them_is_no_pruning(labels: Path, tmp_path: Path) -> None:
    plain = trained(plan(labels, None, cache=EXACT), tmp_path / "a")
    folders = {path.name for path in (tmp_path / "a" / ".cache").iterdir()}
    for share in (0.4, 0.6):
        assert any(
            not torch.equal(weight, plain[name])
            for name, weight in trained(
                plan(labels, {"keep": share}, cache=EXACT), tmp_path / f"{share}"
            ).items()
        )
        found = {path.name for path in (tmp_path / f"{share}" / ".cache").iterdir()}
        assert not found & folders
        folders |= found
    assert_equal(plain, trained(plan(labels, {"keep": 1.0}, cache=EXACT), tmp_path / "all"))


@pytest.fixture(scope="module")
def run(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(plan(labels, {"keep": 0.5}), tmp_path_factory.mktemp("run"), silent, workers=0)


def test_a_run_is_asked_as_it_learned(run: Path, labels: Path) -> None:
    assert weights(run)
    engine = load(run)
    assert engine.model.blueprint.resolution["prune"] == {"keep": 0.5}
    clips = [sample.media[0] for sample in open_samples(labels)][::2]
    seen = next(iter(engine.watch_batches([clips], workers=0)))
    counts = {len(one.tokens) for one in seen}  # type: ignore[union-attr]
    assert counts == {11}  # half of 5 frames of 4 cells and a newline
    assert engine.clip_tokens == 11
    layouts = {one.layout for one in seen}  # type: ignore[union-attr]
    assert len(layouts) > 1
    alone = [next(iter(engine.watch_batches([[clip]], workers=0)))[0] for clip in clips]
    for one, other in zip(seen, alone, strict=True):
        assert one.layout == other.layout  # type: ignore[union-attr]
        assert torch.allclose(one.tokens, other.tokens, atol=1e-5)  # type: ignore[union-attr]


def test_the_command_sweeps_over_shares(run: Path, labels: Path, tmp_path: Path) -> None:
    args = ["eval", str(run), "--data", str(labels), "--out", str(tmp_path), "--workers", "0", "--json"]
    done = CliRunner().invoke(app, [*args, "--sweep", "keep=0.25,0.5,1"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["values"]
    assert [(row["value"], row["tokens"]) for row in rows] == [(0.25, 5), (0.5, 11), (1, 21)]
    for values in ("0", "1.5", "0.5,x"):
        done = CliRunner().invoke(app, [*args, "--sweep", f"keep={values}"])
        assert done.exit_code == 2, done.output


def test_models_that_leave_nothing_out_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no part of a picture"):
        with_keep(load("billiards-home"), 0.5)

    for resolution in ({"kind": "anyres"}, {"kind": "two_scale"}):
        with pytest.raises(ConfigError, match=f"{resolution['kind']!r}, which leaves nothing out"):
            with_pruning(video_lm().blueprint.model_copy(update={"resolution": resolution}), Prune(keep=0.5))


def test_a_recipe_changes_what_footage_leaves_out(labels: Path, tmp_path: Path) -> None:
    model = video_lm(scenes={"video": {"kind": "whole"}})
    model.read_otherwise(Reads(prune=Prune(keep=0.5)))
    assert model.blueprint.scenes["video"] == {"kind": "whole", "prune": {"keep": 0.5}}
    assert "prune" not in model.blueprint.resolution
    assert len(model.cut(moving()).kept[0]) == 40
    start = train(plan(labels, None, steps=1), tmp_path / "start", silent, workers=0)
    more = {"name": "more", "start": str(start), "reads": {"prune": {"keep": 0.5}}}
    told = {**more, "stages": [stage(labels, train=FROZEN, steps=1)]}
    after = load(train(Recipe.model_validate(told), tmp_path / "more", silent, workers=0))
    assert after.model.blueprint.resolution["prune"] == {"keep": 0.5}


def test_a_plan_counts_what_is_read(labels: Path, tmp_path: Path) -> None:
    told = plan(labels, {"keep": 0.5}).model_dump(mode="json")
    told["data"] = str(labels)
    for one in told["stages"]:
        one.pop("data", None)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({k: v for k, v in told.items() if v not in (None, {}, [])}), encoding="utf-8")
    done = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["stages"][0]["tokens"]["clip"] == 11
