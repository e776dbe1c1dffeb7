"""Long films are captioned stretch by stretch, with all that a job promises of clips."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caption_folder_tools import counts, run
from caption_tools import MADE, TOKENS, film, lines, noted, quarantine, said, save_tiny_model
from killed_tools import Forked, stop_when
from typer.testing import CliRunner

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store import worker
from vidapt.captioning.store.work import caption_store
from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding
from vidapt.video import write_mp4


def job(model: Path, films: Path, out: Path, chunk: str, reached: Path) -> None:
    """Caption until four stretches are done, say so, and wait."""

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done >= 4:
            reached.touch()
            time.sleep(600)

    worker.WINDOW = 1  # of the process that this runs in
    how: dict[str, Any] = {"decoding": Decoding(max_new_tokens=TOKENS), "chunk": chunk, "report": report}
    caption_store(Builtin(load(model)), films, out, workers=1, batch=2, **how)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


def scenes(path: Path, *seconds: float, rate: int = 10) -> Path:
    """A film of shots of such lengths, each of one picture unlike the others, with a little noise."""
    random = np.random.default_rng(len(seconds))
    shots = []
    for length in seconds:
        picture = random.integers(0, 256, (2, 3, 3)).repeat(16, axis=0).repeat(16, axis=1)
        noise = random.integers(-6, 7, (round(length * rate), *picture.shape))
        shots.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    write_mp4(path, np.concatenate(shots), rate, gop=40)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 6.6 and 9.1 seconds, one of 2, one that is none, and one that breaks off on its way."""
    folder = tmp_path_factory.mktemp("films")
    scenes(folder / "a.mp4", 2.4, 4.2)
    scenes(folder / "b.mp4", 3.3, 1.7, 4.1)
    film(folder / "short.mp4", 1)
    (folder / "empty.mp4").touch()
    whole = scenes(folder / "torn.mp4", 5, 5, 5, 5).read_bytes()
    (folder / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


STRETCHES = [
    ("a.mp4@0-4", 0.0, 4.0),
    ("a.mp4@3-6.600", 3.0, 6.6),
    ("b.mp4@0-4", 0.0, 4.0),
    ("b.mp4@3-7", 3.0, 7.0),
    ("b.mp4@6-9.100", 6.0, 9.1),
    ("short.mp4", None, None),
]


def stretches(out: Path) -> list[tuple[str, float | None, float | None]]:
    rows = [(row["clip"], row["start_s"], row["end_s"]) for row in lines(out)]
    return [row for row in rows if not row[0].startswith("torn")]


def test_every_stretch_has_a_row_and_broken_ones_cost_their_own(
    engine: Engine, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captions.jsonl"
    summary = run(engine, films, out, chunk=3, overlap=1.0)
    assert stretches(out) == STRETCHES
    lost = [row["clip"] for row in lines(quarantine(out))]
    kept = [row["clip"] for row in lines(out) if row["clip"].startswith("torn")]
    assert lost[0] == "empty.mp4"
    assert [*kept, *lost[1:]] == [f"torn.mp4@{start}-{min(start + 4, 20)}" for start in range(0, 20, 3)], (
        "whatever is left of a torn film is captioned"
    )
    assert kept
    assert lost[1:]
    for row in lines(out):
        start, end = row["start_s"] or 0.0, row["end_s"] or 99.0
        assert all(start - 0.1 <= moment <= end for moment in row["frames"])
    assert summary.failed == len(lost)
    again = run(engine, films, out, chunk=3, overlap=1.0)
    assert (again.captioned, again.kept) == (0, summary.captioned)


def test_stretches_answer_as_single_clips_do_in_both_kinds_of_files(
    engine: Engine, films: Path, tmp_path: Path
) -> None:
    run(engine, films / "b.mp4", tmp_path / "b.parquet", chunk="3", overlap=1.0)
    run(engine, films / "b.mp4", tmp_path / "b.jsonl", chunk=3, overlap=1, batch=1)
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "b.parquet").drop_columns(list(MADE))
    assert table.to_pylist() == said(tmp_path / "b.jsonl")
    assert len({row["caption"] for row in lines(tmp_path / "b.jsonl")}) == 3


def test_shots_are_captioned_each_by_itself(engine: Engine, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, films, out, chunk="shots")
    assert stretches(out) == [
        ("a.mp4@0-2.399", 0.0, 2.399),
        ("a.mp4@2.400-6.600", 2.4, 6.6),
        ("b.mp4@0-3.299", 0.0, 3.299),
        ("b.mp4@3.300-4.999", 3.3, 4.999),
        ("b.mp4@5-9.100", 5.0, 9.1),
        ("short.mp4", None, None),
    ]
    assert "empty.mp4" in [row["clip"] for row in lines(quarantine(out))]


def test_another_cutting_is_another_job(engine: Engine, films: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "captions.jsonl", films / "a.mp4"
    run(engine, source, out, chunk=3)
    for other in ({}, {"chunk": 2}, {"chunk": 3, "overlap": 1.0}, {"chunk": "shots"}):
        with pytest.raises(ConfigError, match="holds other captions"):
            run(engine, source, out, **other)
    assert counts(run(engine, source, out, chunk="shots", overwrite=True)) == (2, 0, 0)


def test_rows_of_a_film_that_was_changed_are_replaced(engine: Engine, films: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "captions.jsonl", tmp_path / "films"
    folder.mkdir()
    scenes(folder / "a.mp4", 2, 3, 4)
    run(engine, folder, out, chunk="shots")
    scenes(folder / "a.mp4", 4, 2)
    assert counts(run(engine, folder, out, chunk="shots")) == (2, 0, 0)
    assert [row["clip"] for row in lines(out)] == ["a.mp4@0-3.999", "a.mp4@4-6"]


@pytest.mark.parametrize("chunk", ["3", "shots"])
def test_killed_without_warning_the_job_goes_on_to_the_same_rows(
    chunk: str, engine: Engine, model: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, reached = tmp_path / "captions.jsonl", tmp_path / "reached"
    running = Forked(job, model, films, out, chunk, reached)
    assert stop_when(reached.exists, running) == -signal.SIGKILL
    made = [line for line in noted(out) if '"row"' in line]
    assert len(made) >= 4
    heard: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        heard.append(task)

    monkeypatch.setattr(worker, "WINDOW", 1)
    summary = run(engine, films, out, chunk=chunk, batch=2, report=report)
    assert summary.kept + summary.failed >= len(made)
    assert summary.captioned < summary.kept + summary.captioned
    assert "look for shots" not in heard, "where films are cut is known"
    run(engine, films, tmp_path / "whole.jsonl", chunk=chunk, batch=2)
    assert said(out) == said(tmp_path / "whole.jsonl")
    assert lines(quarantine(out)) == lines(quarantine(tmp_path / "whole.jsonl"))


def test_the_command_cuts_and_refuses_before_a_model_is_opened(
    model: Path, films: Path, tmp_path: Path
) -> None:
    out, shell = tmp_path / "captions.jsonl", CliRunner()
    given = ["caption", str(films / "a.mp4"), "--out", str(out), "--max-tokens", "4", "--workers", "0"]
    for wrong, told in (
        (["--chunk", "60", "--overlap", "60"], "leave nothing new"),
        (["--chunk", "minutes"], "give seconds, or shots"),
        (["--overlap", "2"], "give --chunk as well"),
    ):
        refused = shell.invoke(app, [*given, "--model", "no-such-model", *wrong])
        assert (refused.exit_code, told in refused.stderr) == (2, True), refused.stderr
    made = shell.invoke(
        app,
        [*given, "--model", str(model), "--chunk", "3", "--overlap", "1", "--json"],
        catch_exceptions=False,
    )
    assert made.exit_code == 0
    assert json.loads(made.stdout)["captioned"] == 2
    assert stretches(out) == STRETCHES[:2]
