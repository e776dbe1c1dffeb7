"""Footage and labels in LLaVA's form: one command, killed twice, ends as one that was left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapt_tools import clips_in, conversation, footage, llava
from killed_tools import Command, one_thread, silent, stop_when
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.recipe import load_recipe
from vidapt.training.run import train

RUN = CliRunner()

TINY = [
    word
    for stage in (0, 1)
    for change in ("epochs=null", "steps=3", "save_every=1", "batching.clips=2")
    for word in ("--set", f"stages.{stage}.{change}")
]


def words(clips: Path, labels: Path, out: Path) -> list[str]:
    given = [
        "adapt",
        str(clips),
        "--labels",
        str(labels),
        "--out",
        str(out),
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    return [*given, "--general", str(labels.parent / "general.json"), "--yes", *TINY]


def losses(out: Path) -> list[float]:
    files = sorted((out / "runs").rglob("metrics.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def result(out: Path) -> dict[str, Any]:
    """What came out, without times and places."""
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    measured = {name: found[name] for name in ("before", "after")}
    for one in (*measured.values(), *found["general"].values()):
        del one["provenance"]["started"]
    return {**measured, "general": found["general"]}


def captions(out: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    return {row["clip"]: row["caption"] for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(900)  # it starts four processes, which import torch; that takes long on a busy machine
def test_one_command_killed_twice_ends_as_one_that_was_not(tmp_path: Path) -> None:
    clips, labels = footage(tmp_path, 12)
    others = clips_in(tmp_path / "labels" / "others", 3, first=40)
    llava(tmp_path / "labels" / "general.json", [f"others/{path.name}" for path in others])
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    run = cut / "runs" / "my-clips"

    def again() -> Command:
        return Command(*words(clips, labels, cut))

    stop_when(lambda: list((run / "02-eyes" / "work").glob("checkpoint-*")), again())
    assert not (cut / "kept.json").exists()
    divided = (cut / "data" / "train.jsonl").stat().st_mtime_ns
    stop_when(lambda: (cut / "test" / "before" / "predictions.jsonl").exists(), again())
    assert not (cut / "report.html").exists()
    for out in (cut, whole):
        with one_thread():
            done = RUN.invoke(app, words(clips, labels, out))
        assert done.exit_code == 0, done.output
        assert "report.html" in done.stdout
        assert all(f"vidapt {word} " in done.stdout for word in ("caption", "ask", "export"))
    assert (cut / "data" / "train.jsonl").stat().st_mtime_ns == divided  # what is done is not done again

    assert losses(cut) == losses(whole)
    assert result(cut) == result(whole)
    assert captions(cut) == captions(whole)
    assert len(captions(cut)) == 2  # held-out ones, as all clips have labels

    page = (cut / "report.html").read_text(encoding="utf-8")
    decided = json.loads((cut / "decisions.json").read_text(encoding="utf-8"))
    assert {"data", "division", "base", "recipe", "length", "kept", "captions"} <= {
        one["about"] for one in decided
    }
    assert "What was decided, and why" in page
    assert "What it was to keep" in page
    assert set(result(whole)["general"]) == {"before", "after"}
    asked = [
        json.loads(line) for line in (run / "02-eyes" / "work" / "metrics.jsonl").read_text().splitlines()
    ]
    assert any(key.startswith("measure/general/") for row in asked for key in row)
    assert "tell what happens." in page
    assert page.count("conversations") > 1

    # The user takes over by hand, and a job of other labels is sent elsewhere.
    assert train(load_recipe(cut / "recipe.yaml"), cut / "runs", silent, resume=True, workers=0) == run
    rows = [conversation(f"{number:03d}.mp4", number + 1) for number in range(12)]
    labels.write_text(json.dumps(rows))
    other = RUN.invoke(app, words(clips, labels, cut))
    assert other.exit_code == 2
    assert "another job was begun here" in other.output
