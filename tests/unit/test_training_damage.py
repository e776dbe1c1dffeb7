"""What is read back is what was written: damaged checkpoints, models and clips that changed are told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_tools import assert_equal, recipe, silent, stage, trained, write_clips

from vidapt.errors import CheckpointError, ConfigError
from vidapt.recipe import Recipe
from vidapt.training import footprints
from vidapt.training.manifest import read_manifest, write_manifest
from vidapt.training.run import train
from vidapt.video import identity as identity_module


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def plan_of(labels: Path) -> Recipe:
    return recipe(stage(labels, steps=6, save_every=1))


def stopped(plan: Recipe, runs: Path, step: int = 4, task: str = "a") -> Path:
    """Train until a step is done, as if the power failed then; returns the stage's checkpoints' folder."""

    def report(name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == (task, step):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, runs, report, workers=0)
    return runs / "run" / "01-a" / "work"


def last_third_is_zeros(checkpoint: Path) -> None:
    file = checkpoint / "trainable.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3] + bytes(len(content) - len(content) * 2 // 3))


def one_bit(checkpoint: Path) -> None:
    file = checkpoint / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def another_step(checkpoint: Path) -> None:
    state = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps({**state, "step": 2}))


def another_checkpoints_files(checkpoint: Path) -> None:
    older = checkpoint.with_name("checkpoint-00000003")
    shutil.rmtree(checkpoint)
    shutil.copytree(older, checkpoint)


def a_file_less(checkpoint: Path) -> None:
    (checkpoint / "random.pt").unlink()


def a_file_more(checkpoint: Path) -> None:
    (checkpoint / "weights.bin").write_bytes(b"1")


def no_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def a_manifest_of_another_content(checkpoint: Path) -> None:
    file = checkpoint / "manifest.json"
    file.write_text(file.read_text().replace('"step": 4', '"step": 5'))


DAMAGES = [
    last_third_is_zeros,
    one_bit,
    another_step,
    another_checkpoints_files,
    a_file_less,
    a_file_more,
    no_manifest,
    a_manifest_of_another_content,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_checkpoint_the_one_before_is_taken_and_it_is_told(
    labels: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    plan = plan_of(labels)
    expected = trained(plan, tmp_path / "whole")
    work = stopped(plan, tmp_path / "cut")
    damage(work / "checkpoint-00000004")
    heard: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        heard.append(f"{task} {done}: {note}")

    assert_equal(trained(plan, tmp_path / "cut", resume=True, report=report), expected)
    told = [line for line in heard if "checkpoint-00000004 cannot be used" in line]
    assert len(told) == 1
    assert "going on from step 3" in told[0]
    assert [line for line in heard if line.startswith("a 4:")]


def test_where_no_checkpoint_is_sound_all_are_named_and_none_is_deleted(labels: Path, tmp_path: Path) -> None:
    work = stopped(plan_of(labels), tmp_path / "cut")
    for checkpoint in work.glob("checkpoint-*"):
        last_third_is_zeros(checkpoint)
    with pytest.raises(CheckpointError) as told:
        train(plan_of(labels), tmp_path / "cut", silent, workers=0, resume=True)
    for name in ("checkpoint-00000003", "checkpoint-00000004"):
        assert f"{name} is damaged (trainable.safetensors is damaged)" in str(told.value)
        assert (work / name).is_dir()
    with pytest.raises(CheckpointError, match="checkpoint-00000003 is damaged"):
        train(plan_of(labels), tmp_path / "cut", silent, workers=0, resume=True, from_step=3)


def test_a_finished_stages_model_is_what_it_left(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, "a", steps=2), stage(labels, "b", steps=3))
    expected = trained(plan, tmp_path / "whole")
    stopped(plan, tmp_path / "cut", 1, task="b")
    model = tmp_path / "cut" / "run" / "01-a" / "model"
    (model / "card.json").write_text("{}")  # nothing is computed from it
    (model / "notes.txt").write_text("mine")
    whole = (model / "model.safetensors").read_bytes()
    last_third_is_zeros_of(model / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is not what its stage left: model\.safetensors is damaged"):
        train(plan, tmp_path / "cut", silent, workers=0, resume=True)
    (model / "model.safetensors").write_bytes(whole)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


def last_third_is_zeros_of(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3] + bytes(len(content) - len(content) * 2 // 3))


@pytest.mark.parametrize("keep", ["features", "frames", "nothing"])
def test_footage_of_the_same_size_and_other_content_is_named(labels: Path, tmp_path: Path, keep: str) -> None:
    plan = recipe(stage(labels, steps=6, save_every=1, cache={"keep": keep}))
    stopped(plan, tmp_path / "cut")
    clip = labels.parent / "2.mp4"
    content = bytearray(clip.read_bytes())
    content[len(content) // 2] ^= 0xFF
    clip.write_bytes(content)
    with pytest.raises(ConfigError, match=r"clips have changed since it began: 2\.mp4\n"):
        train(plan, tmp_path / "cut", silent, workers=0, resume=True)


def test_footage_that_was_moved_goes_on(labels: Path, tmp_path: Path) -> None:
    # Read from elsewhere, with other times: the recipe is the same as it is written, and so are the clips.
    first, second = tmp_path / "one", tmp_path / "two"
    shutil.copytree(labels.parent, first / "clips")
    plan = plan_of(first / "clips" / "labels.jsonl")
    expected = trained(plan, tmp_path / "whole")
    stopped(plan, tmp_path / "cut")
    shutil.copytree(first / "clips", second / "clips")
    for number, clip in enumerate((second / "clips").glob("*.mp4")):
        os.utime(clip, (number, number))
    shutil.rmtree(first)
    moved = plan_of(second / "clips" / "labels.jsonl").known_as(plan.fingerprint)
    assert_equal(trained(moved, tmp_path / "cut", resume=True), expected)


def test_footage_whose_size_and_time_are_the_same_is_not_read_again(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return identity_module.identity(path)

    monkeypatch.setattr(footprints, "identity", counted)
    stopped(plan_of(labels), tmp_path / "cut")
    assert sorted(read) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    read.clear()
    os.utime(labels.parent / "1.mp4")
    train(plan_of(labels), tmp_path / "cut", silent, workers=0, resume=True)
    assert read == ["1.mp4"]


def test_a_folder_of_pictures_that_changed_is_seen(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    before = footprints.look([tmp_path], {})
    assert footprints.look([tmp_path], before) == before
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "1.png")
    assert footprints.look([tmp_path], before)[tmp_path].content != before[tmp_path].content


def test_a_manifest_lists_what_lies_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123456789")
    write_manifest(tmp_path, step=1)
    facts: dict[str, Any] = read_manifest(tmp_path)
    # The check value that CRC-32's definitions give.
    assert facts == {"step": 1, "files": {"a/x": "9:cbf43926"}}
