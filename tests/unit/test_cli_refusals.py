"""Options that cannot be meant are refused in words, before a model is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from vidapt.captioning.found import find_clips
from vidapt.captioning.store.summary import StoreSummary
from vidapt.cli import app
from vidapt.cli._captions import tell_stored
from vidapt.errors import ConfigError
from vidapt.version import VERSION
from vidapt.yaml_lines import Lines, apply_overrides

RUN = CliRunner()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["match", "clip.mp4", "a ball", "--data", "labels.jsonl"], "exclude one another"),
        (["match", "clip.mp4", "a ball", "--retrieval", "--by-rule", "3"], "--retrieval, --by-rule can only"),
        (["match", "clip.mp4", "a ball", "--lexicon", "none.yaml"], "--lexicon can only"),
        (["match", "--data", "labels.jsonl", "--lexicon", "none.yaml"], "none.yaml: there is no such file"),
        (["ask", "clip.mp4", " "], "question: is empty"),
        (["caption", "clip.mp4", "--out", "none.jsonl", "--prompt", ""], "--prompt: is empty"),
        (["caption", "clip.mp4", "--out", "none.jsonl", "--workers", "-3"], "--workers"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], reason: str) -> None:
    shown = RUN.invoke(app, [*words, "--model", "no-such-model"])
    assert shown.exit_code == 2
    assert reason in shown.output


def test_a_rate_that_nothing_would_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    asked = RUN.invoke(app, ["ask", str(tmp_path / "a.png"), "what?", "--fps", "4", "--model", "no-such"])
    assert (asked.exit_code, "no folder of pictures is asked about" in asked.output) == (2, True)
    with pytest.raises(ConfigError, match="no clip is a folder of pictures"):
        find_clips(tmp_path, fps=4.0)


def test_long_words_of_a_table_are_broken_and_not_cut_off() -> None:
    shown = RUN.invoke(app, ["families"], env={"COLUMNS": "80"}, terminal_width=80)
    assert shown.exit_code == 0
    assert "\u2026" not in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_command_is_there_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "vidapt", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


def test_a_folder_of_broken_clips_is_an_error_that_names_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("empty.mp4", "notes.txt"):
        (tmp_path / "clips" / name).touch()
    out = tmp_path / "out.jsonl"
    shown = RUN.invoke(app, ["caption", str(tmp_path / "clips"), "--out", str(out), "--workers", "0"])
    assert shown.exit_code == 2
    assert "all 1 clips are broken" in shown.output
    assert f"{out}.quarantine.jsonl" in shown.output
    assert "1 .txt" in shown.output
    assert out.with_name("out.jsonl.quarantine.jsonl").is_file()


def test_an_override_past_the_end_of_a_list_names_its_length() -> None:
    with pytest.raises(ConfigError, match="stages has 2 entries"):
        apply_overrides({"stages": [{}, {}]}, ["stages.7.epochs=2"], Lines())


def test_answers_of_no_schema_are_no_broken_clips(capsys: pytest.CaptureFixture[str]) -> None:
    def told(errors: dict[str, int]) -> str:
        summary = StoreSummary(Path("o"), 0, 0, 3, 0, 3, 0, [], {}, {}, 1.0, 0.0, 0.0, errors=errors)
        with pytest.raises(typer.Exit) as ended:
            tell_stored(summary, as_json=False)
        assert ended.value.exit_code == 2
        return capsys.readouterr().err

    assert "all 3 clips are broken" in told({"BrokenClip": 3})
    shown = told({"SchemaViolation": 2, "BrokenClip": 1})
    assert "no clip has a caption: 2 SchemaViolation, 1 BrokenClip" in shown
    assert "3 failed (2 SchemaViolation, 1 BrokenClip)" in shown
