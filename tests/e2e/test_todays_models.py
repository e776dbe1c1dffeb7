"""Each model people adapt today: captioned with, asked, adapted, then in full, and handed on, by command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import torch
import yaml
from PIL import Image
from todays_tools import ROWS, logits, names
from torch import Tensor
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.loading import open_model
from vidapt.video import write_mp4

ASKED = "What moves?"
ADAPT = {
    "towers": "frozen",
    "connector": "full",
    "language": "lora",
    "lora": {"rank": 2, "alpha": 4, "targets": "all-linear"},
}
ROUNDED = 2e-3
"""How far the weights' rounding where adapters are merged moves logits; float64 is that far off itself."""

IN_FULL = {"towers": "full", "connector": "full", "language": "full"}


def command(*asked: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in asked])
    assert result.exit_code == 0, result.output
    return result.stdout


@dataclass(frozen=True)
class Footage:
    """Two films and a still, and labels of them: questions of three kinds, and a stretch with its caption."""

    clips: Path
    labels: Path

    @property
    def film(self) -> Path:
        return self.clips / "a.mp4"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    folder = tmp_path_factory.mktemp("footage")
    clips = folder / "clips"
    clips.mkdir()
    write_mp4(clips / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    write_mp4(clips / "b.mp4", tools.film(12, 40, 40, seed=5).numpy(), 3)
    Image.fromarray(tools.film(1, 48, 80)[0].numpy()).save(clips / "still.png")
    rows: list[dict[str, Any]] = []
    for name, when in (("a.mp4", "0.5–2.0"), ("b.mp4", "1.0–3.5")):
        rows += [
            {"video": name, "question": ASKED, "answer": "A patch."},
            {"video": name, "question": "Where to?", "answer": "To the right."},
            {"video": name, "question": "When?", "answer": when, "facts": {"type": "when"}},
        ]
    rows.append({"video": "b.mp4", "start_s": 1, "end_s": 3, "caption": "A patch goes right."})
    labels = clips / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return Footage(clips, labels)


@dataclass(frozen=True)
class Made:
    """What became of one model: its published folder, and its run."""

    name: str
    published: Path
    run: Path

    @property
    def folder(self) -> Path:
        return self.published.parent

    def state(self, stage: str) -> dict[str, Tensor]:
        return dict(open_model(self.run / stage / "model")[0].state_dict())


@pytest.fixture(scope="module", params=ROWS)
def made(request: pytest.FixtureRequest, footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("model")
    ROWS[request.param].make(folder / "published")
    batching = {"clips": 2, "questions": 3, "shared_prefix": True, "blind": 0}
    stages = []
    for name, parts in (("adapt", ADAPT), ("full", IN_FULL)):
        learns = [part for part, how in parts.items() if how in ("full", "lora")]
        optimizer = {"rates": dict.fromkeys(learns, 1e-3)}
        stages.append(
            {"name": name, "steps": 2, "train": parts, "optimizer": optimizer, "batching": batching}
        )
    told = {"name": "run", "start": str(folder / "published"), "data": str(footage.labels), "stages": stages}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(told))
    run = command("train", folder / "recipe.yaml", "--runs", folder / "runs", "--workers", 0).split()[-1]
    return Made(request.param, folder / "published", Path(run))


def captions(model: Path, clips: Path, out: Path) -> dict[str, dict[str, Any]]:
    command("caption", clips, "--model", model, "--out", out, "--max-tokens", 4, "--workers", 0)
    return {row["clip"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}


def test_the_published_folder_captions_and_answers(made: Made, footage: Footage, tmp_path: Path) -> None:
    rows = captions(made.published, footage.clips, tmp_path / "captions.jsonl")
    assert set(rows) == {"a.mp4", "b.mp4", "still.png"}
    assert len(rows["a.mp4"]["frames"]) > 1
    assert all(row["visual_tokens"] > 0 for row in rows.values())
    told = json.loads(
        command("ask", footage.film, ASKED, "--model", made.published, "--max-tokens", 4, "--json")
    )
    assert told["answers"]


def test_every_tensor_found_its_place_and_learned(made: Made) -> None:
    told = json.loads((made.run / "load_report.json").read_text())
    assert told["family"] == ROWS[made.name].family
    assert told["prompt"]
    assert not any(told[kind] for kind in ("missing", "unexpected", "initialised"))
    assert set(told["ignored"].values()) <= {"parted into query, key and value"}
    start = dict(open_model(made.published)[0].state_dict())
    adapted, full = made.state("01-adapt"), made.state("02-full")
    lora = {key for key in adapted if "lora_" in key}
    assert all(adapted[key].any() for key in lora)
    assert lora
    same = {key for key in start if key in adapted and start[key].equal(adapted[key])}
    assert {key for key in start if key.startswith("tower")} <= same
    assert not [key for key in start if key.startswith("connector.") and key in same]
    still = [key for key in full if full[key].equal(adapted[key])]
    assert all("post_layernorm" in key for key in still)  # LLaVA-Video reads what lies in front of it


@pytest.mark.parametrize("stage", ["01-adapt", "02-full"])
def test_what_was_trained_is_the_originals_again(
    made: Made, stage: str, footage: Footage, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command("export", made.run / stage / "model", "--out", out, "--to", "hf", "--dtype", "float32")
    assert names(out) == names(made.published)
    trained = logits(made.run / stage / "model")
    assert (trained - logits(made.published)).abs().max() > 20 * ROUNDED
    torch.testing.assert_close(logits(out), trained, atol=ROUNDED, rtol=0)
    assert ROWS[made.name].apart(out) < tools.TOLERANCE
    asked = ("ask", footage.film, ASKED, "--max-tokens", 6, "--model")
    assert command(*asked, made.run / stage / "model") == command(*asked, out)
