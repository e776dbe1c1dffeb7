"""Labels of strangers: refused with their line in little time and memory, and shown without escapes."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from vidapt.cli import _show, app
from vidapt.errors import FormatError, VidaptError, readable
from vidapt.formats import _scan, open_samples
from vidapt.progress import ProgressReporter

ROW = '{"video": "a.mp4", "question": "what?", "answer": "x", "facts": {"a": %s}}'
MANY = "[" + "[]," * 3_000_000 + "1]"
ESCAPE = "\x1b[31mred\x9b2J\u202e\n"


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(FormatError) as error:
        list(open_samples(path, check_files=False))
    return str(error.value)


@pytest.mark.parametrize("name", ["l.jsonl", "l.json"])
def test_a_row_of_megabytes_is_not_decoded(tmp_path: Path, name: str) -> None:
    rows = [ROW % 1, ROW % MANY]
    text = "\n".join(rows) if name.endswith("l") else "[" + ",\n".join(rows) + "]"
    tracemalloc.start()
    said = refused(tmp_path / name, text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{name}:2: a row of more than 4,194,304 bytes" in said
    assert peak < 200e6  # decoded it is ten times as much, most of which is not traced


@pytest.mark.parametrize("length", [10, 5_000, 70_000, 700_000])
def test_rows_of_a_list_are_read_at_any_length(tmp_path: Path, length: int) -> None:
    """A row is tried in growing pieces; where it is cut must not show."""
    path = tmp_path / "l.json"
    words = ('a "quoted" \\ é 🎱 ' * (length // 16 + 1))[:length]
    rows = [json.loads(ROW % json.dumps(words)), json.loads(ROW % 12345), json.loads(ROW % "{}")]
    for indent in (None, 1):
        path.write_text(json.dumps(rows, indent=indent))
        samples = list(open_samples(path, check_files=False))
        assert [sample.facts["a"] for sample in samples] == [words, 12345, {}]


def test_what_is_broken_is_told_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scan, "_FIRST_BYTES", 64)
    monkeypatch.setattr(_scan, "MAX_ROW_BYTES", 10_000)
    rest = ",\n" + ROW % 1 + " " * 50_000 + "]"
    assert "l.json:1: broken JSON at column 72: Expecting value" in refused(
        tmp_path / "l.json", "[" + ROW % "x" + rest
    )
    never = '[{"video": "' + "a" * 50_000 + rest
    assert "l.json:1: a row of more than 10,000 bytes" in refused(tmp_path / "l.json", never)


def test_a_text_that_no_model_reads_is_refused_with_its_line(tmp_path: Path) -> None:
    row = {"video": "a.mp4", "question": "w " * 1_000_000, "answer": "x"}
    said = refused(tmp_path / "l.jsonl", ROW % 1 + "\n" + json.dumps(row))
    assert "l.jsonl:2: 'question' is a text of 2,000,000 letters" in said


def test_keys_without_number_take_no_time(tmp_path: Path) -> None:
    keys = [f'"key{index}": 1' for index in range(100_000)]
    assert "the row has 100,000 keys" in refused(tmp_path / "l.jsonl", "{" + ",".join(keys) + "}")
    doubled = "{" + ",".join([*keys, keys[-1]]) + "}"
    assert "the key 'key99999' is given twice" in refused(tmp_path / "l.jsonl", doubled)


# What is shown


def steers(text: str) -> bool:
    return any(mark in text for mark in ("\x1b", "\x9b", "\u202e"))


def test_what_steers_a_terminal_is_written_as_an_escape() -> None:
    assert readable(ESCAPE) == r"\x1b[31mred\x9b2J\u202e\n"
    assert readable("a\n\tb", lines=True) == "a\n\tb"
    assert readable("a\nb") == r"a\nb"
    assert readable("Ünïcode 红球 🎱") == "Ünïcode 红球 🎱"
    assert readable("\udcff") == r"\udcff"


def test_errors_are_shown_so() -> None:
    shown = str(VidaptError(f"a{ESCAPE}", f"b{ESCAPE}", f"c{ESCAPE}"))
    assert not steers(shown)
    assert shown.splitlines()[0] == rf"a{readable(ESCAPE)}: b\x1b[31mred\x9b2J\u202e"


def test_names_of_missing_files_are_shown_so(tmp_path: Path) -> None:
    rows = [{"video": f"{ESCAPE}{index}.mp4", "question": "q", "answer": "a"} for index in range(2)]
    path = tmp_path / "l.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(
        app, ["eval", "billiards-home", "--data", str(path), "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 2
    assert not steers(done.output)
    assert r"red\x9b2J\u202e\n1.mp4" in done.output


def test_tables_and_results_are_shown_so(capsys: pytest.CaptureFixture[str]) -> None:
    _show.table(["a"], [[f"[/b][red]{ESCAPE}"]])
    _show.say(ESCAPE)
    _show.remark(ESCAPE)
    shown = capsys.readouterr()
    assert not steers(shown.out.replace("\x1b[1m", "").replace("\x1b[0m", ""))
    assert "[/b][red]" in shown.out
    assert not steers(shown.err.replace("\x1b[2m", "").replace("\x1b[0m", ""))


def test_progress_is_shown_so() -> None:
    lines = io.StringIO()
    report: Any = ProgressReporter(Console(file=lines))
    report(f"task{ESCAPE}", 1, 1, f"[/b]{ESCAPE}")
    assert not steers(lines.getvalue())
    assert "[/b]" in lines.getvalue()
