"""`vidapt label` as a user runs it: a local teacher, a dry run, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from label_tools import KEY, KEY_ENV, film_all, lines, provenance, recipe_file, teacher
from served_tools import serving
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.digests import digest
from vidapt.formats import open_samples
from vidapt.formats._base import CAPTION_PROMPT


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["label", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def test_a_shipped_model_is_a_teacher(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 2), tmp_path / "labels.jsonl"
    own = ("--teacher", "billiards-home", "--workers", "0", "--out", out, "--json")
    how = ("decoding.temperature=1", "samples=2", "decoding.max_tokens=16", "frames.moving=1")
    status, said, told = run(clips, *own, *(word for one in how for word in ("--set", one)))
    assert status == 0, told
    summary = json.loads(said)
    assert (summary["labelled"], summary["calls"], summary["money"]) == (2, 4, 0.0)
    assert summary["tokens"] > 0
    assert [row["video"] for row in lines(out)] == ["clips/0.mp4", "clips/1.mp4"]
    rows = provenance(out)
    assert [len(row["voices"]) for row in rows] == [2, 2]
    assert all(call["told"] and 0 < call["written"] <= 16 for row in rows for call in row["calls"])
    assert rows[0]["teachers"] == ["billiards-home"]
    # It is asked what it was trained on.
    assert {call["prompt_hash"] for row in rows for call in row["calls"]} == {digest(CAPTION_PROMPT, 16)}


def test_a_dry_run_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, out = film_all(tmp_path / "clips", 3), tmp_path / "labels.jsonl"
    monkeypatch.setenv(KEY_ENV, KEY)
    with serving(teacher) as fake:
        file = recipe_file(tmp_path / "label.yaml", fake, "facts", endpoint={"key_env": KEY_ENV})
        words = (clips, "--recipe", file, "--out", out, "--workers", "0", "--dry-run")
        status, said, told = run(*words, "--json")
        assert status == 0, told
        found = json.loads(said)
        assert (found["clips"], found["likely"]["calls"], found["most"]["calls"]) == (3, 6, 12)
        assert 0 < found["likely"]["money"] < found["most"]["money"]
        status, said, _ = run(*words)
        assert "at most" in said
        assert "12 frames" in said
    assert fake.heard == []
    assert {one.name for one in tmp_path.iterdir()} == {"clips", "label.yaml"}


def test_options_stand_in_for_a_recipe_and_a_budget_is_told(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 3), tmp_path / "labels.jsonl"
    with serving(teacher) as fake:
        own = (clips, "--teacher", fake.url, "--served", "any", "--mode", "caption", "--out", out)
        words = (*own, "--workers", "0")
        most = json.loads(run(*words, "--dry-run", "--json")[1])["most"]
        limit = (most["read"] + most["written"]) // 3 + 120 + 60
        status, said, told = run(*words, "--max-tokens", str(limit), "--set", "teachers.0.concurrency=1")
        assert status == 2
        assert "raise --max-cost or --max-tokens" in " ".join(told.split())
        assert "labelled" in said
        assert len(list(open_samples(out))) == 2
        status, said, told = run(*words, "--json")
        assert status == 0, told
        assert (json.loads(said)["kept"], json.loads(said)["labelled"]) == (2, 1)
        assert fake.heard[0]["model"] == "any"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no clips are given"),
        (["clips", "--served", "x"], "--teacher"),
        (["clips", "--teacher", "http://x"], "--served"),
        (["clips", "--teacher", "billiards-home", "--served", "x"], "no server"),
        (["clips", "--teacher", "http://x", "--served", "m", "--max-cost", "1"], "`price`"),
        (["clips", "--out", "x.csv"], "use .jsonl"),
        (["clips", "--mode", "facst"], "did you mean 'facts'?"),
        (["clips", "--teacher", "http://x", "--served", "m", "--key-env", "NO_SUCH"], "NO_SUCH is not set"),
        (["nowhere"], "no such file"),
        (["clips", "--again", "x.jsonl", "--dry-run"], "goes with neither --overwrite nor --dry-run"),
        (["clips", "--chunk", "often"], "give seconds, or shots"),
        (["clips", "--teacher", "billiards-home", "--price", "1,2"], "leave out --price"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film_all(tmp_path / "clips", 1)
    status, _, error = run(*words)
    assert status == 2
    assert told in " ".join(error.split())
    assert {one.name for one in tmp_path.iterdir()} == {"clips"}


def test_the_shipped_recipe_is_copied_once(tmp_path: Path) -> None:
    status, said, _ = run("--new-recipe", tmp_path / "label.yaml")
    assert (status, said.strip()) == (0, str(tmp_path / "label.yaml"))
    assert "mode: facts" in (tmp_path / "label.yaml").read_text()
    assert run("--new-recipe", tmp_path / "label.yaml")[0] == 2
