"""`vidapt look` with the shipped model on simulated clips whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.loading import open_model
from vidapt.measure.look import Wanted, localisation, look_at
from vidapt.worlds.billiards import simulate
from vidapt.worlds.billiards.table import FPS

RUN = CliRunner()
FRAMES, WHITE = 18, 1


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look") / "pool"
    simulate(folder, clips=2, seed=7, workers=1)
    return folder


def test_a_film_is_a_gif_an_mp4_or_a_sheet(pool: Path, tmp_path: Path) -> None:
    clip = str(pool / "clips" / "000000.mp4")
    for name in ("a.gif", "a.mp4", "a.png"):
        shown = RUN.invoke(app, ["look", clip, "--out", str(tmp_path / name)])
        assert shown.exit_code == 0, shown.output
        assert "all 12 slots" in shown.output
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 0) == FRAMES
        one = image.size
    with av.open(tmp_path / "a.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width * image.height >= FRAMES * one[0] * one[1]


def test_json_holds_the_noise_of_every_layer_head_and_slot(pool: Path, tmp_path: Path) -> None:
    clip, out = str(pool / "clips" / "000000.mp4"), str(tmp_path / "a.png")
    options = ["--model", "billiards-home", "--model", "billiards-home", "--json"]
    shown = RUN.invoke(app, ["look", clip, "--out", out, *options, "--layer", "-1", "--head", "2"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    first, second = told["models"]
    assert first == second
    assert first["map"] == "layer 1, head 2, from proxies"
    assert [(row["layer"], row["head"]) for row in first["table"]] == [
        (1, "rollout"), (1, "mean"), (1, 1), (1, 2), (1, 3), (1, 4),
    ]  # fmt: skip
    assert all(0 <= row["entropy"] <= 1 and 0 <= row["high_norm"] <= 1 for row in first["table"])
    slots = RUN.invoke(app, ["look", clip, "--out", out, "--slot", "3", "--json"])
    table = json.loads(slots.stdout)["models"][0]["table"]
    assert [row["slot"] for row in table] == list(range(1, 13))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.webm"], "the ending '.webm' cannot be written"),
        (["--out", "a.gif", "--layer", "2"], "there is no layer 2: this tower has 1"),
        (["--out", "a.gif", "--head", "5"], "use a number from 1 to 4"),
        (["--out", "a.gif", "--slot", "13"], "use a number from 1 to 12, or 0 for all"),
        (["--out", "a.gif", "--word", "red"], "use a dual encoder"),
        (["--out", "a.gif", "--token", "class"], "known: proxy 1, proxy 2"),
        (["--out", "a.gif", "--model", "billiards-hone"], "billiards-home"),
    ],
)
def test_what_cannot_be_shown_is_a_plain_message(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    clip = str((pool / "clips" / "000000.mp4").resolve())
    monkeypatch.chdir(tmp_path)
    shown = RUN.invoke(app, ["look", clip, *options])
    assert shown.exit_code == 2
    assert message in " ".join(shown.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_models_first_slot_looks_at_the_white_ball(pool: Path) -> None:
    model, tokenizer = open_model("billiards-home")
    tracks = load_file(pool / "truth.safetensors")["tracks"].float()
    for index in range(2):
        clip = pool / "clips" / f"{index:06d}.mp4"
        shown = look_at(clip, model, tokenizer, "home", Wanted(slot=WHITE))
        rows = (torch.from_numpy(shown.times_s) * FPS).round().long()
        size = (shown.frames.shape[1], shown.frames.shape[2])
        white = localisation(shown.weights, tracks[index, rows, 0], 0.12, size, shown.area)
        assert white.share > 0.8
        assert white.hits > 0.8
        assert white.chance < 0.1
        player = look_at(clip, model, tokenizer, "home", Wanted(slot=9))
        other = localisation(player.weights, tracks[index, rows, 0], 0.12, size, player.area)
        assert other.share < 0.5
