"""Teachers that cannot teach, and what they show of a student's frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from align_tools import clip_of, dual, recipe, silent, stage, train, write_captioned
from teacher_tools import DINO, distil, dual_teacher, larger, plan
from training_tools import tokenizer, video_lm

from vidapt import parts
from vidapt.errors import CheckpointError, ConfigError
from vidapt.models.folder import save_model
from vidapt.nouns import Clip
from vidapt.recipe import Cache, DualBlueprint, Recipe, load_recipe
from vidapt.towers import long_clip
from vidapt.training.align import teachers as taught
from vidapt.training.align.batch import PairBatch
from vidapt.training.align.teachers import evenly, mean_and_deviation
from vidapt.video import Uniform, decode, write_mp4


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


def test_teachers_see_the_students_frames(school: dict[str, Path]) -> None:
    """One of them was used to five frames; which frames are read is no matter of its weights."""
    objective = {"kind": "align", "terms": [distil(school)]}
    opened = taught.open_teachers(objective, Uniform(count=7), torch.device("cpu"))
    assert {teacher.blueprint.frames.count for teacher in opened.values()} == {7}
    assert opened["dino"].plan((48, 64), 7).views[0].size == (12, 12)
    assert opened["clip"].cut(torch.zeros(7, 48, 64, 3, dtype=torch.uint8)).shape == (1, 7, 3, 24, 24)
    for teacher in opened.values():
        assert not any(weight.requires_grad for weight in teacher.parameters())
    assert taught.open_teachers({"kind": "next_token"}, Uniform(count=7), torch.device("cpu")) == {}


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_a_lesson_is_what_the_tower_shows_of_the_students_frames(
    labels: Path, school: dict[str, Path], tmp_path: Path, name: str
) -> None:
    frames = Uniform(count=3)
    objective = {"kind": "align", "terms": [distil(school)]}
    teacher = taught.open_teachers(objective, frames, torch.device("cpu"))[name]
    footage = taught.lessons({name: teacher}, Cache(keep="frames"), tmp_path, 0, {})[name]
    clips = [Clip(str(number), labels.parent / f"{number}.mp4") for number in range(2)]
    assert footage.prepare([(clip, 1) for clip in clips], lambda done, total: None) == {}
    for clip in clips:
        pixels = torch.from_numpy(decode(clip, frames).pixels).permute(0, 3, 1, 2)
        whole = parts.build("resolutions", {"kind": "whole"}, size=teacher.tower.size)
        (view,) = whole.cut(pixels.permute(0, 2, 3, 1), whole.plan((24, 32), 3))
        wanted = teacher.tower(view[None]).x
        (kept,) = footage.seen([(clip, 1)])
        assert torch.equal(kept.features[0].x, wanted)
        assert not torch.allclose(kept.features[0].x, teacher.tower(view[None].flip(1)).x, atol=1e-3)


def test_a_teacher_may_be_cut_for_in_another_way(labels: Path, tmp_path: Path) -> None:
    """Tiles are several views; the same tower sees the whole frame if it is told to."""
    tiles = {"kind": "anyres", "grids": [[2, 1]]}
    save_model(tmp_path / "tiles", video_lm(resolution=tiles), tokenizer(), {})
    objective = {"kind": "align", "terms": [distil({"a": tmp_path / "tiles"})]}
    with pytest.raises(ConfigError, match="teacher a: a clip is cut into 3 views"):
        taught.open_teachers(objective, Uniform(count=1), torch.device("cpu"))
    whole = {"path": str(tmp_path / "tiles"), "resolution": {"kind": "whole"}}
    objective = {"kind": "align", "terms": [distil({}, teachers={"a": whole})]}
    assert list(taught.open_teachers(objective, Uniform(count=1), torch.device("cpu"))) == ["a"]


def test_views_of_several_sizes_are_refused_before_the_first_step(
    school: dict[str, Path], tmp_path: Path
) -> None:
    mixed = write_captioned(tmp_path / "mixed", clips=3)
    write_mp4(mixed.parent / "1.mp4", torch.zeros(6, 48, 32, 3, dtype=torch.uint8).numpy(), 6)
    native = {"kind": "native", "factor": 4, "min_pixels": 16, "max_pixels": 400, "kernel": "torch"}
    one = {"path": str(school["dino"]), "resolution": native}
    given = plan(mixed, distil({}, teachers={"one": one}))
    with pytest.raises(ConfigError, match=r"teacher one: sees clips in 2 sizes, such as \[\(16, 20\)"):
        train(given, tmp_path / "runs", silent, workers=0)
    again = plan(mixed, distil(school), steps=1).model_copy(update={"name": "again"})
    train(again, tmp_path / "runs", silent, workers=0)


def feature_teacher(folder: Path) -> Path:
    arch = {**dual()["tower"]["arch"], "projection_dim": 8}
    return dual_teacher(folder, tower={"kind": "long_clip", "arch": arch, "output": "feature"})


def short_teacher(folder: Path) -> Path:
    tower = {"kind": "conv_vip", "size": [16, 16], "frames": 2, "width": 8, "stem": 8, "heads": 2}
    save_model(folder, video_lm(towers=[tower]), tokenizer(), {})
    return folder


def no_model(folder: Path) -> Path:
    folder.mkdir()
    return folder


REFUSED: dict[str, tuple[Callable[[Path], Path | str], dict[str, Any], str]] = {
    "no such model": (lambda folder: folder, {}, "no such model"),
    "a misspelt name": (lambda folder: "billiard-home", {}, "billiards-home"),
    "an empty folder": (no_model, {}, "holds neither"),
    "no second tower": (dual_teacher, {"tower": 1}, "has 1 towers"),
    "one vector a frame": (feature_teacher, {}, "shows one vector for each frame"),
    "too many frames": (short_teacher, {}, "cannot see the student's 3 frames"),
    "a misspelt resolution": (dual_teacher, {"resolution": {"kind": "whole", "fut": "crop"}}, "fut"),
    "no such resolution": (dual_teacher, {"resolution": {"kind": "hole"}}, "no part is called 'hole'"),
}


@pytest.mark.parametrize(("made", "changes", "found"), REFUSED.values(), ids=REFUSED)
def test_who_cannot_teach_is_refused_before_work_begins(
    labels: Path, tmp_path: Path, made: Callable[[Path], Any], changes: dict[str, Any], found: str
) -> None:
    one = {"path": str(made(tmp_path / "teacher")), **changes}
    with pytest.raises((ConfigError, CheckpointError), match=found):
        train(plan(labels, distil({}, teachers={"one": one})), tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs").exists()


def test_what_was_refused_can_be_mended_and_tried_again(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    start = train(plan(labels, {"kind": "contrastive"}, steps=1), tmp_path / "start", silent, workers=0)

    def given(tower: int) -> Recipe:
        one = {"path": str(school["clip"]), "tower": tower}
        first = stage(
            labels, objective={"kind": "align", "terms": [distil({}, teachers={"a": one})]}, steps=1
        )
        return recipe(first, dual=None, start=str(start))

    with pytest.raises(ConfigError, match="has 1 towers"):
        train(given(1), tmp_path / "runs", silent, workers=0)
    train(given(0), tmp_path / "runs", silent, workers=0)


def test_a_student_without_patches_learns_nothing_from_them(
    labels: Path, school: dict[str, Path], tmp_path: Path
) -> None:
    arch = {**dual()["tower"]["arch"], "projection_dim": 8}
    tower = {"kind": "long_clip", "arch": arch, "output": "feature"}
    assert long_clip.Part.Config.model_validate({k: v for k, v in tower.items() if k != "kind"})
    given = plan(labels, distil(school)).model_copy(
        update={"dual": DualBlueprint.model_validate(dual(tower=tower))}
    )
    with pytest.raises(ConfigError, match="shows no patches"):
        train(given, tmp_path, silent, workers=0)


def test_mean_and_deviation_are_those_of_all_cells_together() -> None:
    torch.manual_seed(0)
    each = [1000 + torch.randn(n, 2, 3, 5) * torch.arange(5) for n in (1, 4, 2)]
    mean, std = mean_and_deviation(iter(each))
    every = torch.cat([x.flatten(0, -2) for x in each]).double()
    assert torch.allclose(mean, every.mean(0).float(), rtol=1e-7)
    assert torch.allclose(std, every.std(0, correction=0).float(), rtol=1e-6)
    assert std[0] == 0


def test_clips_are_chosen_evenly() -> None:
    items = [(clip_of(number, ["x"]).media[0], 1) for number in range(10)]
    assert [int(clip.id) for clip, _ in evenly(items, 4)] == [0, 2, 5, 7]
    assert evenly(items, 10) == evenly(items, 99) == items


def test_paths_are_taken_from_the_recipes_folder(labels: Path, tmp_path: Path) -> None:
    given = json.loads(
        plan(labels, distil({}, teachers={"a": "beside", "b": {"path": "elsewhere"}})).model_dump_json()
    )
    (tmp_path / "beside").mkdir()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    (only,) = load_recipe(tmp_path / "recipe.yaml").stages
    (term,) = only.objective["terms"]
    assert term["teachers"] == {"a": {"path": str(tmp_path / "beside")}, "b": {"path": "elsewhere"}}


def test_a_teacher_nobody_named_teaches_nothing() -> None:
    batch = object.__new__(PairBatch)
    batch._lessons = {}
    with pytest.raises(ConfigError, match="teacher nobody: teaches nothing in this stage"):
        batch.taught("nobody")
