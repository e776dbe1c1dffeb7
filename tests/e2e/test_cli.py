"""The command line as a user meets it: quick to start, plain errors, JSON where a table is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.loading import shipped
from vidapt.worlds.billiards import simulate

RUN = CliRunner()
COMMANDS = (
    "adapt",
    "label",
    "clean",
    "probe",
    "review",
    "train",
    "eval",
    "caption",
    "ask",
    "match",
    "look",
    "interpolate",
    "report",
    "families",
    "export",
    "parity",
    "demo",
)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["vidapt", "vidapt.cli", "vidapt.nouns", "vidapt.recipe", "vidapt.parts"])
def test_importing_needs_neither_torch_nor_transformers(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    assert _python(code) == "[]"


def test_help_names_every_command() -> None:
    shown = RUN.invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(name in shown.output for name in (*COMMANDS, "simulate"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert RUN.invoke(app, [command, "--help"]).exit_code == 0


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "pool"
    simulate(folder, clips=3, seed=7, workers=1)
    return folder


def test_a_wrong_model_offers_the_nearest_name(pool: Path) -> None:
    shown = RUN.invoke(app, ["ask", str(pool / "clips" / "000000.mp4"), "what?", "--model", "billiards-hone"])
    assert shown.exit_code == 2
    assert "billiards-home" in shown.output
    assert "Traceback" not in shown.output


def test_a_missing_clip_is_an_error_with_its_path(tmp_path: Path) -> None:
    shown = RUN.invoke(app, ["ask", str(tmp_path / "nothing.mp4"), "what?"])
    assert shown.exit_code == 2
    assert "nothing.mp4" in shown.output


def test_a_missing_recipe_is_an_error(tmp_path: Path) -> None:
    shown = RUN.invoke(app, ["train", str(tmp_path / "none.yaml")])
    assert shown.exit_code == 2
    assert "none.yaml" in shown.output


@pytest.mark.parametrize("command", ["train", "plan"])
def test_media_may_lie_in_another_folder_than_labels(
    command: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def stopped(recipe: Any, *given: object, **options: object) -> None:
        seen.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("vidapt.training.run.train", stopped)
    monkeypatch.setattr("vidapt.training.outlook.outlook", stopped)
    recipe = Path(__file__).parents[2] / "recipes" / "my-clips.yaml"
    media = ["--media-root", str(pool)]
    asked = [command, str(recipe), "--runs", str(tmp_path)]
    alone = RUN.invoke(app, [*asked, *media])
    assert alone.exit_code == 2
    assert "goes with --data" in alone.output
    labels = tmp_path / "labels.jsonl"
    labels.write_bytes((pool / "labels.jsonl").read_bytes())
    assert RUN.invoke(app, [*asked, *media, "--data", str(labels)]).exit_code == 130
    (source,) = seen[0].data
    assert (source.path, source.options) == (labels.resolve(), {"media_root": str(pool.resolve())})


def test_who_stops_a_training_is_told_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vidapt.training.run.train", stopped)
    recipe = Path(__file__).parents[2] / "recipes" / "my-clips.yaml"
    shown = RUN.invoke(app, ["train", str(recipe), "--data", str(tmp_path), "--runs", str(tmp_path)])
    assert shown.exit_code == 130
    assert "finished work is kept, add --resume to go on" in shown.output


def test_ask_answers_each_question_and_prints_json(pool: Path) -> None:
    clip = str(pool / "clips" / "000000.mp4")
    questions = ["how many balls are on the table?", "is there a red ball on the table?"]
    shown = RUN.invoke(app, ["ask", clip, *questions, "--json"])
    assert shown.exit_code == 0
    rows = json.loads(shown.stdout)["answers"]
    assert [row["question"] for row in rows] == questions
    assert all(row["answer"] for row in rows)


def test_caption_writes_one_row_per_clip_and_survives_an_empty_file(pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for clip in (pool / "clips").iterdir():
        (folder / clip.name).write_bytes(clip.read_bytes())
    (folder / "empty.mp4").touch()
    out = tmp_path / "captions.jsonl"
    shown = RUN.invoke(app, ["caption", str(folder), "--out", str(out), "--workers", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [next(iter(row)) for row in rows] == ["key"] * 3
    assert len({row["key"] for row in rows}) == 3
    assert json.loads(shown.stdout)["failed"] == 1


def test_eval_writes_numbers_and_a_report(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured"
    options = ["--data", str(pool / "labels.jsonl"), "--out", str(out), "--workers", "1", "--json"]
    shown = RUN.invoke(app, ["eval", "billiards-home", *options])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["clips"] == 3
    assert (out / "report.html").stat().st_size > 10_000


def test_the_shipped_model_is_small() -> None:
    weights = shipped()["billiards-home"] / "model.safetensors"
    assert 0 < weights.stat().st_size <= 25 * 2**20
