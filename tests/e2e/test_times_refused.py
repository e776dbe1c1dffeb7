"""Times and lengths that cannot be, of the models that read them, by command: refused, or used and told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import yaml
from click.testing import Result
from PIL import Image
from todays_tools import ROWS
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.inference.load import load
from vidapt.video import Times, write_mp4

WHEN = {"video": "a.mp4", "question": "When?", "answer": "0.5–2.0", "facts": {"type": "when"}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of four seconds, one of a single frame, and models."""
    folder = tmp_path_factory.mktemp("home")
    write_mp4(folder / "a.mp4", tools.film(12, 40, 40).numpy(), 3)
    (folder / "short").mkdir()
    write_mp4(folder / "short" / "one.mp4", tools.film(1, 40, 40).numpy(), 3)
    for name in ("qwen2_5_vl", "qwen3_vl", "minicpm_v_4_5"):
        ROWS[name].make(folder / name)
    return folder


def run(*asked: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in asked])


def trained(home: Path, folder: Path, row: dict[str, Any], keep: str = "auto") -> Result:
    labels = folder / "labels.jsonl"
    labels.write_text(json.dumps({**row, "video": str(home / "a.mp4")}) + "\n")
    stage = {
        "name": "adapt",
        "steps": 1,
        "train": {"towers": "frozen", "connector": "full", "language": "frozen"},
        "optimizer": {"rates": {"connector": 1e-3}},
        "cache": {"keep": keep},
    }
    told = {"name": "run", "start": str(home / "qwen3_vl"), "data": str(labels), "stages": [stage]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(told))
    return run("train", folder / "recipe.yaml", "--runs", folder / "runs", "--workers", 0)


def test_a_label_whose_times_run_backwards_is_not_learned(home: Path, tmp_path: Path) -> None:
    result = trained(home, tmp_path, {**WHEN, "answer": "15.0–12.4"})
    assert result.exit_code == 2
    assert "labels.jsonl:1: asks when, and '15.0–12.4' is no stretch of time" in result.output


@pytest.mark.parametrize("keep", ["features", "frames", "nothing"])
def test_a_stretch_that_goes_on_behind_the_end_is_used_and_told(
    home: Path, tmp_path: Path, keep: str
) -> None:
    for _ in range(2):  # the second time from what is kept
        result = trained(home, tmp_path, {**WHEN, "start_s": 1, "end_s": 30}, keep)
        assert result.exit_code == 0, result.output
        assert "notes.jsonl" in result.output.replace("\n", "")
        notes = tmp_path / "runs" / "run" / "notes.jsonl"
        (row,) = map(json.loads, notes.read_text().splitlines())
        assert (row["start_s"], row["end_s"]) == (1, 30)
        assert row["notes"] == ["it ends at 4.00 s, before the end of its stretch at 30 s"]
        (tmp_path / "runs" / "run").rename(tmp_path / f"done-{_}")


def test_of_sound_clips_nothing_is_told(home: Path, tmp_path: Path) -> None:
    assert trained(home, tmp_path, WHEN).exit_code == 0
    assert not (tmp_path / "runs" / "run" / "notes.jsonl").exists()


def test_a_stretch_behind_the_end_is_broken(home: Path, tmp_path: Path) -> None:
    assert trained(home, tmp_path, {**WHEN, "start_s": 30}).exit_code == 2
    (row,) = map(json.loads, (tmp_path / "runs" / "run" / "quarantine.jsonl").read_text().splitlines())
    assert "it is 4.000 s long and cannot start at 30.0 s" in row["reason"]


def test_moments_that_run_backwards_are_refused_where_positions_tell_them(home: Path) -> None:
    engine = load(home / "qwen2_5_vl")
    blueprint = engine.model.blueprint
    engine.model.blueprint = blueprint.model_copy(update={"frames": Times(times=(3.0, 2.5, 1.0, 0.5))})
    with pytest.raises(ConfigError, match=r"blueprint\.frames: the frames of a clip run backwards"):
        engine.ask(home / "a.mp4", "What?")


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "minicpm_v_4_5"])
def test_a_film_of_one_frame_is_read_as_a_still(home: Path, name: str, tmp_path: Path) -> None:
    """Also where frames go in pairs or threes."""
    out = tmp_path / "captions.jsonl"
    told = ("--model", home / name, "--max-tokens", 3, "--workers", 0, "--out", out)
    result = run("caption", home / "short", *told)
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    assert row["frames"] == [0.0]
    assert row["visual_tokens"] > 0


def test_ten_thousand_pictures_are_refused_unread(home: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    Image.new("L", (16, 16)).save(tmp_path / "one.png")
    for number in range(10_000):
        os.link(tmp_path / "one.png", album / f"{number:05d}.png")
    result = run("ask", album, "What?", "--model", home / "qwen3_vl", "--fps", 25)
    assert result.exit_code == 2
    assert "it holds 10000 pictures, more than the limit of 8192" in result.output
