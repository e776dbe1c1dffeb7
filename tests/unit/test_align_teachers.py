"""Frozen teachers in an alignment stage: what is learned from them, what they cost, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from align_tools import recipe, silent, stage, train, write_captioned
from safetensors.torch import load_file
from teacher_tools import DINO, distil, dual_teacher, larger, plan
from torch import Tensor
from training_tools import assert_equal, tokenizer, video_lm, weights

from vidapt.errors import ConfigError
from vidapt.models.folder import save_model
from vidapt.recipe import Recipe
from vidapt.towers import dinov2
from vidapt.training.align import teachers as taught


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dual encoder that compares, and a language model that looks with DINOv2 at other frames."""
    folder = tmp_path_factory.mktemp("school")
    clip = dual_teacher(folder / "clip", tower=larger())
    model = video_lm(towers=[DINO], frames={"policy": "uniform", "count": 5})
    save_model(folder / "dino", model, tokenizer(), {})
    return {"clip": clip, "dino": folder / "dino"}


def rows(run: Path) -> list[dict[str, Any]]:
    log = run / "01-a" / "work" / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def cut_at(step: int, given: Recipe, runs: Path) -> None:
    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a" and done == step:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(given, runs, report, workers=0)


def files_of(folders: dict[str, Path]) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for folder in folders.values() for f in folder.iterdir() if f.is_file()}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every clip that a DINOv2 tower sees."""
    seen: list[str] = []
    forward = dinov2.Part.forward

    def counted(self: dinov2.Part, views: Tensor) -> Any:
        assert not self.training
        assert not torch.is_grad_enabled()
        seen.extend("clip" for _ in views)
        return forward(self, views)

    monkeypatch.setattr(dinov2.Part, "forward", counted)
    return seen


def test_one_tower_learns_what_two_teachers_show(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    before = files_of(school)
    start = train(plan(labels, distil(school), steps=1), tmp_path / "start", silent, workers=0)
    given = plan(labels, distil(school), steps=120, batching={"clips": 6}, pairs={"alike": "clip"})
    run = train(given, tmp_path, silent, workers=0)
    first, last = rows(run)[0], rows(run)[-1]
    for name in school:
        # Noise cannot be learned by heart in so few steps, but what tells one clip's colour from another can.
        assert last[f"distill/{name}"] < 0.75 * last[f"distill/{name}/chance"], last
        assert last[f"distill/{name}"] < 0.8 * first[f"distill/{name}"], (first, last)
        assert last[f"distill/{name}/cosine"] > last[f"distill/{name}/cosine_other"] + 0.2
    assert last["distill"] == pytest.approx((last["distill/clip"] + last["distill/dino"]) / 2, abs=1e-5)
    assert last["loss"] == pytest.approx(last["distill"], abs=1e-5)
    assert files_of(school) == before
    old, new = weights(start), weights(run)
    moved = {name.partition(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert moved == {"tower"}
    assert not [name for name in new if "dino" in name or "pupil" in name]


def test_it_is_one_term_among_others(labels: Path, school: dict[str, Path], tmp_path: Path) -> None:
    terms = [{"kind": "contrastive"}, distil(school, weight=2.0, patches="layer:1", cosine_of="cell")]
    (row,) = rows(train(plan(labels, *terms, steps=3), tmp_path, silent, workers=0))
    assert row["loss"] == pytest.approx(row["contrastive"] + 2 * row["distill"], abs=1e-5)


def test_half_precision_and_kept_features_will_do(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    """Also where the student's own features are kept, and only its projection learns."""
    term = distil(school, patches="projected")
    frozen = {"towers": "frozen", "text": "frozen"}
    cache = {"keep": "features", "dtype": "float16"}
    found = {}
    for precision in ("float32", "bfloat16"):
        given = plan(labels, term, train=frozen, cache=cache, precision=precision, steps=10)
        (row,) = rows(train(given, tmp_path / precision, silent, workers=0))
        found[precision] = row["distill"]
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.02)
    assert found["bfloat16"] != found["float32"]


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_cut_at_any_step_changes_nothing(
    labels: Path, school: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    given = plan(labels, {"kind": "contrastive"}, distil(school))
    whole = train(given, tmp_path / "whole", silent, workers=0)
    cut_at(step, given, tmp_path / "cut")
    if step > 1:
        # What was measured before the first step comes from the checkpoint.
        monkeypatch.setattr(taught, "mean_and_deviation", lambda features: (torch.ones(16), torch.ones(16)))
    cut = train(given, tmp_path / "cut", silent, workers=0, resume=True)
    assert_equal(weights(cut), weights(whole))
    assert rows(cut) == rows(whole)


def test_checkpoints_hold_pupils_and_no_teachers(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    cut_at(2, plan(labels, distil(school)), tmp_path)
    (checkpoint,) = (tmp_path / "run" / "01-a" / "work").glob("checkpoint-*")
    kept = load_file(checkpoint / "trainable.safetensors")
    own = {name for name in kept if name.startswith("objective.")}
    prefix = "objective.terms.distill.pupils.of_"
    assert {name.removeprefix(prefix).partition(".")[0] for name in own} == set(school)
    assert {f"{prefix}{name}.{part}" for name in school for part in ("mean", "scale")} <= own
    assert {name.partition(".")[0] for name in kept} <= {
        "objective",
        "tower",
        "text",
        "visual_projection",
        "text_projection",
        "logit_scale",
    }


def test_every_clip_is_seen_once(
    labels: Path, school: dict[str, Path], tmp_path: Path, looks: list[str]
) -> None:
    given = plan(labels, distil(school), steps=10, batching={"clips": 2})
    cut_at(3, given, tmp_path)
    assert len(looks) == 1 + 6  # a black clip to try the teacher out, and then each of them
    train(given, tmp_path, silent, workers=0, resume=True)
    assert len(looks) == 2 + 6
    again = given.model_copy(update={"name": "again"})
    train(again, tmp_path, silent, workers=0)
    assert len(looks) == 3 + 6


def test_a_finished_stage_needs_no_teacher_any_more(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    model = dual_teacher(tmp_path / "gone")
    stages = [
        stage(labels, name, objective={"kind": "align", "terms": [term]}, steps=1)
        for name, term in (("a", distil({"gone": model})), ("b", {"kind": "contrastive"}))
    ]
    given = recipe(*stages)

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "b":
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(given, tmp_path, report, workers=0)
    (model / "dual.json").unlink()
    train(given, tmp_path, silent, workers=0, resume=True)


def test_one_clip_is_enough_where_nothing_is_told_apart(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    one = [{"path": str(labels), "limit": 1}]
    run = train(plan(labels, distil(school), data=one, batching={"clips": 1}), tmp_path, silent, workers=0)
    (row,) = rows(run)
    assert "skipped" not in json.loads((run / "run.json").read_text())["stages"]["01-a"]
    assert "distill/clip/cosine_other" not in row
    with pytest.raises(ConfigError, match="nothing can be told apart"):
        train(plan(labels, {"kind": "contrastive"}, data=one), tmp_path / "b", silent, workers=0)


def test_the_shipped_model_can_teach(labels: Path, tmp_path: Path) -> None:
    term = {"kind": "distill", "teachers": {"home": "billiards-home"}}
    (row,) = rows(train(plan(labels, term, steps=2), tmp_path, silent, workers=0))
    assert 0 < row["distill/home"] < 2
