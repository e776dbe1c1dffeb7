"""HiLight's folders: what is refused in one, and what is written into one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import parity_tools as tools
import pytest
import torch
from hilight_tools import (
    AUX,
    MAIN,
    MINING,
    STILL,
    VIDEO,
    WEIGHTS,
    Original,
    clip_vip_state,
)
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import export_hf, hilight, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.video.write import write_mp4


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


@pytest.fixture(scope="module")
def sound(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return original.write(tmp_path_factory.mktemp("hilight"))


@pytest.fixture(scope="module")
def model(sound: Path) -> VideoLM:
    opened, _, _ = open_checkpoint(sound)
    return opened


def test_the_report_names_what_is_not_used(sound: Path) -> None:
    _, _, report = open_checkpoint(sound)
    assert report.files == tuple(sorted([MAIN, AUX, WEIGHTS]))
    used = {"vision_model", "text_model", "visual_projection", "text_projection", "logit_scale"}
    named = {key.split(":")[1].split(".")[1] for key in report.ignored if key.startswith("mm_vision_tower:")}
    assert named == used
    assert all(report.ignored.values())


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


def message(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert caught.value.remedy
    return str(caught.value)


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", [MAIN, AUX])
def test_a_missing_tower_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in message(folder)
    assert "beside config.json" in message(folder)


def test_a_tower_may_lie_in_a_folder_of_its_name(folder: Path, model: VideoLM) -> None:
    (folder / AUX).rename(folder / "aux.pt")
    (folder / AUX).mkdir()
    (folder / "aux.pt").rename(folder / AUX / "weights.pt")
    opened, _, _ = open_checkpoint(folder)
    assert torch.equal(tools.our_logits(opened, [[STILL]]), tools.our_logits(model, [[STILL]]))


@pytest.mark.parametrize("named", [None, "", 3, "..", "model_zoo/.."])
def test_a_configuration_that_names_no_file_is_refused(folder: Path, named: Any) -> None:
    configure(folder, mm_vision_tower=named)
    message(folder)


def test_a_configuration_cannot_reach_outside_its_folder(folder: Path) -> None:
    shutil.move(folder / MAIN, folder.parent / MAIN)
    configure(folder, mm_vision_tower=f"../{MAIN}")
    assert "is not there" in message(folder)


def test_the_two_towers_are_not_confused(folder: Path) -> None:
    configure(folder, mm_vision_tower=AUX, mm_vision_tower_aux=MAIN)
    assert "belong to no part of a hilight model" in message(folder)


def test_image_clip_in_place_of_clip_vip_is_refused(folder: Path) -> None:
    state = {key: t for key, t in clip_vip_state().items() if "temporal" not in key}
    torch.save(state, folder / MAIN)
    assert "temporal" in message(folder)


def test_weights_without_the_mining_module_are_refused(folder: Path) -> None:
    state = {key: t for key, t in load_file(folder / WEIGHTS).items() if MINING not in key}
    save_file(state, folder / WEIGHTS)
    assert "connector.query.0.weight" in message(folder)


def test_a_written_model_holds_its_towers_and_gives_the_same_logits(
    model: VideoLM, sound: Path, tmp_path: Path
) -> None:
    _, tokenizer, _ = open_checkpoint(sound)
    export_hf(tmp_path / "out", model, tokenizer)
    again, _, report = open_checkpoint(tmp_path / "out")
    assert set(report.files) == {WEIGHTS}
    assert report.ignored == {}
    for rows in ([[VIDEO]], [[STILL]]):
        assert torch.equal(tools.our_logits(again, rows), tools.our_logits(model, rows))


def test_writing_gives_the_authors_names_back(model: VideoLM, sound: Path) -> None:
    written = hilight.to_hub(model.state_dict())
    read = load_file(sound / WEIGHTS)
    assert all(torch.equal(written[key], tensor) for key, tensor in read.items())
    others = {key for key in written if key not in read}
    towers = ("model.vision_tower.clipmodel.", "model.vision_tower_aux.visual.")
    assert all(key.startswith(towers) or key == "lm_head.weight" for key in others)


def test_captions_of_a_real_file(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "one.mp4", np.asarray(tools.film(6, 64, 96)), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(sound), "--out", str(out), "--max-tokens", "4", "--workers", "1"]
    shown = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *options])
    assert shown.exit_code == 0, shown.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"]
