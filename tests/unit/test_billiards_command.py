from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.worlds.billiards import load_records


def run(*words: object):
    return CliRunner().invoke(app, ["simulate", "billiards", *map(str, words)])


def test_three_clips_are_simulated_and_the_label_file_is_printed(tmp_path):
    out = tmp_path / "pool"
    result = run("--out", out, "--clips", 3, "--venue", "club", "--seed", 8, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().splitlines()[-1] == str(out / "labels.jsonl")
    assert "simulate: 3/3" in result.stderr
    rows = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    assert {row["video"] for row in rows} == {f"clips/00000{i}.mp4" for i in range(3)}
    assert [record.venue for record in load_records(out / "events.jsonl")] == ["club"] * 3
    assert all((out / "clips" / f"00000{i}.mp4").stat().st_size > 1000 for i in range(3))


def test_a_wrong_venue_is_a_plain_message_and_exit_code_two(tmp_path):
    result = run("--out", tmp_path / "pool", "--clips", 3, "--venue", "clubb")
    assert result.exit_code == 2
    assert "no venue is called 'clubb'" in result.stderr
    assert "did you mean 'club'?" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "pool").exists()


def test_a_folder_of_something_else_is_a_plain_message_and_exit_code_two(tmp_path):
    (tmp_path / "letter.txt").write_text("dear all")
    result = run("--out", tmp_path, "--clips", 1)
    assert result.exit_code == 2
    assert "holds other files" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("words", [["--clips", "0"], ["--seed", "-1"], ["--clips", "many"]])
def test_numbers_that_make_no_sense_are_refused(tmp_path, words):
    result = run("--out", tmp_path / "pool", *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr
