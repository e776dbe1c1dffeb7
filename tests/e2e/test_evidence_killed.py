"""`vidapt evidence --start`, killed while folds learn and while clips are scored, ends as if it never was."""

from __future__ import annotations

import signal
from pathlib import Path

from evidence_tools import folder_of, labels_in, model_in
from killed_tools import Command, one_thread, stop_when
from typer.testing import CliRunner

from vidapt.cli import app

RECIPE = """
name: mine
start: nobody
data: nowhere.jsonl
stages:
  - {name: words, steps: 6, save_every: 1, batching: {clips: 2, blind: 0.15}, train: {language: norms}}
"""


def test_what_was_killed_twice_is_what_was_never_killed(tmp_path: Path) -> None:
    labels, model = labels_in(tmp_path / "data", clips=5), model_in(tmp_path / "model")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    own = ["evidence", labels, "--start", model, "--recipe", tmp_path / "mine.yaml", "--sizes", "8"]
    own += ["--workers", "0", "--batch", "1", "--out"]
    cut, whole = tmp_path / "cut.jsonl", tmp_path / "whole.jsonl"
    scores = tmp_path / "cut.scores.jsonl"

    def learns() -> bool:
        return any((tmp_path / "cut.folds" / "runs" / "fold-1").rglob("checkpoint-*"))

    def scored() -> bool:
        return scores.exists() and scores.read_bytes().count(b"\n") >= 2

    assert stop_when(learns, Command(*own, cut)) == -signal.SIGKILL
    assert not scores.exists() or not scores.read_bytes()
    assert stop_when(scored, Command(*own, cut), signal.SIGINT) == 130
    assert not cut.exists()
    before = scores.read_bytes()
    with one_thread():
        for out in (cut, whole):
            done = CliRunner().invoke(app, [*map(str, own), str(out)])
            assert done.exit_code == 0, done.output
    assert scores.read_bytes().startswith(before[: before.rindex(b"\n") + 1]), "nothing is scored twice"
    found, expected = folder_of(cut), folder_of(whole)
    assert [name.replace("cut", "whole") for name in found] == list(expected)
    assert [one.replace(b"cut.", b"whole.") for one in found.values()] == list(expected.values())
