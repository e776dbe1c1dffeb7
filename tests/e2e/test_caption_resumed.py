"""Caption jobs that were stopped, killed or short of room go on to the same rows."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from caption_folder_tools import BATCH, counts, run
from caption_tools import CLIPS, film_all, lines, noted, quarantine, said, save_tiny_model

from vidapt.captioning.store import worker
from vidapt.errors import VidaptError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.nouns import Clip
from vidapt.video import decode


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that clips are given to the model batch by batch."""
    monkeypatch.setattr(worker, "WINDOW", 1)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_all(tmp_path_factory.mktemp("filmed"))


@pytest.fixture
def clips(filmed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filmed, tmp_path / "clips")


@pytest.fixture(scope="module")
def whole(engine: Engine, filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of a job nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "captions.jsonl"
    run(engine, filmed, out)
    return said(out)


def stop_after(batches: int) -> Callable[..., None]:
    """A reporter during which Ctrl-C is pressed."""

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done >= batches * BATCH:
            raise KeyboardInterrupt

    return report


def test_after_ctrl_c_the_job_goes_on_to_the_same_rows(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    out = tmp_path / "captions.jsonl"
    (clips / "1 empty.mp4").touch()
    with pytest.raises(KeyboardInterrupt):
        run(engine, clips, out, report=stop_after(1), workers=1)
    assert not out.exists()
    assert len(noted(out)) == BATCH
    assert not decode_workers()
    assert counts(run(engine, clips, out)) == (CLIPS - BATCH + 1, BATCH - 1, 1)
    assert said(out) == whole


def test_what_broke_before_the_job_was_killed_gets_another_chance(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "captions.jsonl"
    (clips / "1 empty.mp4").touch()

    def fail(clip: Clip, *rest: Any, **more: Any) -> Any:
        if clip.path.name == "6.mp4":
            raise MemoryError
        return decode(clip, *rest, **more)

    def kill(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("vidapt.video.worker.decode", fail)
    with pytest.raises(KeyboardInterrupt):
        run(engine, clips, out, batch=2, report=kill)
    monkeypatch.undo()
    assert sum('"status": "failed"' in line for line in noted(out)) == 2
    assert counts(run(engine, clips, out)) == (CLIPS - 4, 4, 1)
    assert said(out) == whole
    assert [row["clip"] for row in lines(quarantine(out))] == ["1 empty.mp4"]


def test_on_a_full_disk_finished_rows_stay_and_the_job_goes_on(
    engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: list[dict[str, Any]]
) -> None:
    out = tmp_path / "captions.jsonl"
    written, write = 0, os.write

    def limited(file: int, data: bytes) -> int:
        nonlocal written
        room = 3000 - written
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += write(file, data[:room])
        return min(room, len(data))

    monkeypatch.setattr("vidapt.appended.os.write", limited)
    with pytest.raises(VidaptError, match=r"the disk is full\n.*run the same"):
        run(engine, clips, out)
    monkeypatch.undo()
    rows = len(noted(out)) - 1
    assert 0 < rows < CLIPS
    assert counts(run(engine, clips, out)) == (CLIPS - rows, rows, 0)
    assert said(out) == whole


def decode_workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "vidapt.video" in " ".join(child.cmdline())]


def test_a_killed_decode_worker_costs_no_row(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    out = tmp_path / "captions.jsonl"
    killed = []

    def kill(task: str, done: int, total: int, note: str = "") -> None:
        # Once: a clip that ends two decoders is broken.
        if task == "caption" and done and not killed:
            (worker,) = decode_workers()
            worker.kill()
            worker.wait()
            killed.append(worker)

    assert counts(run(engine, clips, out, workers=1, batch=1, report=kill)) == (CLIPS, 0, 0)
    assert killed
    assert said(out) == whole
