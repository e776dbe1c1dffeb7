"""A store of captions with a real model: the command, stretches, kills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from caption_tools import CLIPS, TOKENS, film, film_all, save_tiny_model
from killed_tools import Forked
from store_kill_often import kill_often
from typer.testing import CliRunner

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.rows import read_rows
from vidapt.captioning.store import copies
from vidapt.captioning.store.work import caption_store
from vidapt.cli import app
from vidapt.curation import sketches
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

MADE = ("seconds", "created", "stamp", "mean_logprob", "logprobs")
"""Columns that tell when a row was made, or whose last digits depend on the batch."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = film_all(tmp_path_factory.mktemp("filmed"))
    (folder / "4 empty.mp4").touch()
    return folder


def run(engine: Engine, source: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    given = {"decoding": Decoding(max_new_tokens=TOKENS), "workers": 0, "batch": 2, "shard": 4} | options
    caption_store(Builtin(engine), source, out, **given)
    return rows_of(out)


def rows_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "captions.parquet").drop_columns(list(MADE)).to_pylist()
    return found


def test_a_store_says_what_the_model_says(engine: Engine, clips: Path, tmp_path: Path) -> None:
    prompts = ["describe the video.", "what happens?"]
    rows = run(engine, clips, tmp_path / "store", prompts=prompts)
    assert len(rows) == CLIPS + 1
    for row in [row for row in rows if row["status"] == "done"][:3]:
        said = engine.ask_all(clips / row["clip"], prompts, max_new_tokens=TOKENS)
        assert row["captions"] == said
        assert row["frames"] == pytest.approx([1 / 3, 1.0, 5 / 3], abs=1e-3)
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert (failed["clip"], failed["error"]) == ("4 empty.mp4", "BrokenClip")
    logprobs = pq.read_table(tmp_path / "store" / "captions.parquet")["logprobs"].to_pylist()
    assert all(value < 0 for row in logprobs for value in row)


def test_what_is_drawn_by_chance_does_not_depend_on_names(
    engine: Engine, clips: Path, tmp_path: Path
) -> None:
    warm = Decoding(max_new_tokens=TOKENS, temperature=0.8, seed=3)
    film(tmp_path / "other" / "renamed.mp4", 0)
    (alone,) = run(engine, tmp_path / "other", tmp_path / "one", decoding=warm)
    rows = run(engine, clips, tmp_path / "all", decoding=warm)
    assert alone["caption"] == next(row["caption"] for row in rows if row["content"] == alone["content"])


def test_several_captions_of_a_clip_stand_in_its_row(engine: Engine, clips: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"n": 3, "diversity": "plain"}
    rows = run(engine, clips, tmp_path / "store", **options)
    done = [row for row in rows if row["status"] == "done"]
    assert all(len(row["captions"]) == len(row["prompts"]) == 3 for row in done)
    assert any(len(set(row["captions"])) > 1 for row in done)
    assert rows == run(engine, clips, tmp_path / "other", batch=5, **options)
    with pytest.raises(ConfigError, match="--n"):
        run(engine, clips, tmp_path / "third", prompts=["a?", "b?"], **options)


def test_stretches_of_films_have_rows_of_their_own(engine: Engine, tmp_path: Path) -> None:
    for number in range(3):
        film(tmp_path / "films" / f"{number}.mp4", number)
    rows = run(engine, tmp_path / "films", tmp_path / "store", chunk=1.0)
    assert [row["clip"] for row in rows] == [f"{n}.mp4@{s}-{s + 1}" for n in range(3) for s in range(2)]
    assert [(row["start_s"], row["end_s"]) for row in rows[:2]] == [(0.0, 1.0), (1.0, 2.0)]
    assert len({row["key"] for row in rows}) == len(rows)
    assert all(row["start_s"] <= min(row["frames"]) for row in rows)


@pytest.mark.parametrize("many", [False, True])
def test_copies_are_not_captioned_and_say_of_what(
    many: bool, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if many:
        monkeypatch.setattr(sketches, "FEW", 0)
        monkeypatch.setattr(copies, "_TOGETHER", 3)
    source = film_all(tmp_path / "clips")
    film(source / "copy.mp4", 0)
    rows = run(engine, source, tmp_path / "store", dedup=True)
    (copy,) = (row for row in rows if row["status"] == "skipped")
    assert (copy["clip"], copy["copy_of"], copy["captions"]) == ("copy.mp4", "0.mp4", [])
    assert len(rows) == CLIPS + 1


def test_processes_killed_at_random_moments_lose_and_double_no_row(
    model: Path, engine: Engine, clips: Path, tmp_path: Path
) -> None:
    store, told, errors = tmp_path / "store", tmp_path / "met.json", tmp_path / "errors.txt"
    job = Forked(kill_often, model, clips, store, 6, 0, told, told=(None, errors))
    assert job.wait(200) == 0, errors.read_text()
    assert json.loads(told.read_text(encoding="utf-8")), "nothing was killed"
    rows = rows_of(store)
    assert len({row["clip"] for row in rows}) == len(rows) == CLIPS + 1
    assert rows == run(engine, clips, tmp_path / "whole", prompts=["what?", "who?"])
    assert not [path for path in store.rglob("*") if path.suffix == ".jsonl"]


def test_the_command_writes_a_folder(model: Path, clips: Path, tmp_path: Path) -> None:
    out, to = tmp_path / "store", tmp_path / "all.jsonl"
    command = ["caption", str(clips), "--model", str(model), "--out", str(out), "--max-tokens", "4"]
    command += ["--workers", "0", "--to", str(to)]
    first = CliRunner().invoke(app, [*command, "--shard", "1/2", "--json"])
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["captioned"], told["failed"], told["left"]) == (CLIPS, 1, 0)
    assert told["outputs"] == [str(out / "captions.parquet"), str(to)]
    assert len(read_rows(to)) == CLIPS
    second = CliRunner().invoke(app, [*command, "--shard", "2/2"])
    assert second.exit_code == 0, second.output
    assert "1 failed" in second.output


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--out", "store", "--shard", "3/2"], "--shard"),
        (["--out", "store", "--shard", "half"], "--shard"),
        (["--out", "store", "--to", "all.csv"], "cannot write .csv"),
        (["--out", "store", "--overwrite"], "--overwrite"),
        (["--out", "a.csv"], "cannot write .csv"),
        (["--out", "a.jsonl", "--to", "a.jsonl"], "is written in any case"),
        (["--out", "store", "--schema", "absent.json"], "absent.json"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_opened(
    options: list[str], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["caption", ".", "--model", "no model", *options])
    assert shown.exit_code == 2
    assert match in shown.output
    assert not any(tmp_path.iterdir())
