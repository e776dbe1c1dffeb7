"""Captions of several folders in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caption_tools import CLIPS, TOKENS, film, film_all, lines, save_tiny_model

from vidapt.captioning.bulk import caption_folder
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def run(engine: Engine, source: Path, out: Path, **options: Any) -> tuple[int, int, int]:
    """Clips captioned, kept and broken."""
    given = {"decoding": Decoding(max_new_tokens=TOKENS), "workers": 0, "batch": 4} | options
    done = caption_folder(engine, source, out, **given)
    return done.captioned, done.kept, done.broken


def test_clips_of_other_folders_with_the_same_names_push_no_row_out(engine: Engine, tmp_path: Path) -> None:
    out, days = tmp_path / "captions.jsonl", [tmp_path / name for name in ("monday", "tuesday")]
    for number, day in enumerate(days):
        day.mkdir()
        film(day / "cam1.mp4", 100 + number)
        film(day / f"only {number}.mp4", 0)
    run(engine, days[0], out)
    before = out.read_bytes()
    with pytest.raises(
        ConfigError, match=r"captions of clips in .*monday whose names.*tuesday have too: cam1"
    ):
        run(engine, days[1], out)
    assert out.read_bytes() == before
    assert run(engine, tmp_path, tmp_path / "both.jsonl") == (4, 0, 0)
    (days[1] / "cam1.mp4").rename(days[1] / "cam2.mp4")
    assert run(engine, days[1], out) == (2, 2, 0)
    assert [row["clip"] for row in lines(out)] == ["cam1.mp4", "cam2.mp4", "only 0.mp4", "only 1.mp4"]
    assert [Path(row["folder"]).name for row in lines(out)] == ["monday", "tuesday"] * 2
    (days[1] / "cam2.mp4").rename(days[1] / "cam1.mp4")
    assert run(engine, days[1], out, overwrite=True) == (2, 0, 0)


def test_an_unfinished_job_keeps_its_rows_from_another_folders_clips(engine: Engine, tmp_path: Path) -> None:
    out, days = tmp_path / "captions.jsonl", [tmp_path / name for name in ("monday", "tuesday")]
    for number, day in enumerate(days):
        day.mkdir()
        for clip in range(4):
            film(day / f"{clip}.mp4", 10 * number + clip)

    def stop(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine, days[0], out, batch=1, report=stop)
    with pytest.raises(ConfigError, match=r"captions of clips in .*monday .*: 0.mp4, 1.mp4"):
        run(engine, days[1], out)
    assert run(engine, days[0], out) == (2, 2, 0)


def test_a_folder_that_was_moved_is_known_by_its_clips(engine: Engine, tmp_path: Path) -> None:
    out, clips = tmp_path / "captions.jsonl", film_all(tmp_path / "clips")
    run(engine, clips, out)
    moved = clips.rename(tmp_path / "moved")
    assert run(engine, moved, out) == (0, CLIPS, 0)
    film(moved / "3.mp4", 100)
    assert run(engine, moved, out) == (1, CLIPS - 1, 0)
