"""`vidapt caption` on a folder saved by each family's original class, with real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools
import numpy as np
import parity_tools as tools
import pytest
from PIL import Image
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.inference.load import load
from vidapt.video import write_mp4

ORIGINALS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "llava": (tools.llava, tools.image_processor),
    "llava_next": (anyres_tools.next_model, anyres_tools.next_processor),
    "llava_next_video": (anyres_tools.next_video_model, anyres_tools.next_processor),
    "llava_interleave": (anyres_tools.interleave_model, anyres_tools.siglip_processor),
    "llava_onevision": (anyres_tools.onevision_model, anyres_tools.onevision_processor),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, a wide and a tall still, and a file that is none of these."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    write_mp4(folder / "video.mp4", rng.integers(0, 255, (20, 48, 64, 3), dtype=np.uint8), 10)
    Image.fromarray(rng.integers(0, 255, (30, 90, 3), dtype=np.uint8)).save(folder / "wide.png")
    Image.fromarray(rng.integers(0, 255, (90, 30, 3), dtype=np.uint8)).save(folder / "tall.png")
    (folder / "broken.mp4").write_bytes(b"")
    return folder


@pytest.mark.parametrize("family", ORIGINALS)
def test_a_folder_of_the_original_class_captions_files(family: str, clips: Path, tmp_path: Path) -> None:
    make, processor = ORIGINALS[family]
    checkpoint = anyres_tools.save(make(), processor(), tmp_path / "checkpoint")
    out = tmp_path / "captions.jsonl"
    command = ["caption", str(clips), "--model", str(checkpoint), "--out", str(out)]
    run = CliRunner().invoke(app, [*command, "--max-tokens", "4", "--workers", "0", "--json"])
    assert run.exit_code == 0, run.output
    assert f"{family}: " in run.stderr
    rows = {row["clip"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert set(rows) == {"video.mp4", "wide.png", "tall.png"}
    assert len(rows["video.mp4"]["frames"]) >= 1
    assert len(rows["tall.png"]["frames"]) == 1
    assert all(row["visual_tokens"] > 0 for row in rows.values())


def test_every_end_the_checkpoint_names_ends_an_answer(tmp_path: Path) -> None:
    checkpoint = anyres_tools.save(tools.llava(), tools.image_processor(), tmp_path / "checkpoint")
    (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert {7, 9} <= set(load(checkpoint).stops)
    (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": 11}))
    assert 11 in load(checkpoint).stops
