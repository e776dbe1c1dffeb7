"""The page and `vidapt data freeze` killed without a word: decisions stay, no version is half one."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from clean_tools import row, rows_of, write_rows
from footage_tools import film
from killed_tools import Command, stop_when
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.curation.versions import check_version, read_card


def start(*words: str | Path, told: Path) -> tuple[Command, dict[str, Any]]:
    """The page, and what it says when it is up; that and its errors are written to a folder."""
    told.mkdir()
    process = Command("review", *words, "--json", told=(told / "out", told / "err"))
    while not (told / "out").exists() or "\n" not in (told / "out").read_text():
        assert process.poll() is None, (told / "err").read_text()
        time.sleep(0.01)
    return process, json.loads((told / "out").read_text())


def ask(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_kill_loses_no_decision(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "labels.jsonl", [row(f"r{n}", f"Ball {n} rolls.") for n in range(5)])
    process, about = start(file, told=tmp_path / "first")
    assert about["url"].startswith("http://127.0.0.1:")
    for number in range(3):
        ask(about["url"], "api/decide", {"row": number, "verdict": "drop"})
    second = CliRunner().invoke(app, ["review", str(file)])
    assert (second.exit_code, "is being written by another process" in second.stderr) == (2, True)
    process.kill()
    process.wait()
    assert [one["id"] for one in rows_of(tmp_path / "labels.decisions.jsonl")] == ["r0", "r1", "r2"]

    process, again = start(file, told=tmp_path / "second")
    assert again["url"].split("/")[3] != about["url"].split("/")[3]
    assert ask(again["url"], "api/start")["standing"]["decided"] == 3
    with pytest.raises(urllib.error.HTTPError, match="409"):
        ask(again["url"], "api/decide", {"row": 0, "verdict": "keep"})
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "3 decided" in (tmp_path / "second" / "err").read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == [
        "labels.decisions.jsonl",
        "labels.jsonl",
    ]


def test_a_kill_leaves_no_half_version(tmp_path: Path) -> None:
    film(tmp_path / "r.mp4", "mp4")
    rows = [row(f"r{n}", f"Ball {n} rolls.") | {"video": "r.mp4"} for n in range(4000)]
    file, out = write_rows(tmp_path / "labels.jsonl", rows), tmp_path / "versions" / "first"
    command = ["data", "freeze", file, "--out", out]
    assert stop_when(lambda: list(out.parent.glob(".first.new.*")), Command(*command)) == -signal.SIGKILL
    assert not out.exists()
    assert Command(*command).wait(120) == 0
    card = read_card(out)
    assert (card.rows, check_version(out)) == (4000, card.version)
    assert [path.name for path in out.parent.iterdir()] == ["first"]
