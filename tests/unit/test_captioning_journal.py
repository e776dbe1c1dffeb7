from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt import locks
from vidapt.captioning.journal import Broken, Journal
from vidapt.captioning.rows import CaptionRow, read_rows, write_rows
from vidapt.errors import ConfigError, FormatError, VidaptError


def row(number: int, caption: str = "a ball\nrolls – \u2028 «so»") -> CaptionRow:
    return CaptionRow(
        key=f"key{number}",
        clip=f"clips/{number}.mp4",
        caption=caption,
        model="tiny",
        model_hash="abc",
        recipe_hash=None if number % 2 else "def",
        prompt="describe the video.",
        settings="s",
        frames=(0.0, 1 / 3) if number % 3 else (),
        visual_tokens=7,
        text_tokens=3,
        new_tokens=5,
        finish="end",
        seconds=0.25,
        notes=("it is truncated",) if number % 2 else (),
        created="2025-01-01T00:00:00+00:00",
        version="0.1.0",
    )


BROKEN = Broken("key9", "clips/9.mp4", "it is empty (zero bytes)", "s")


def test_what_was_added_is_there_when_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "journal.jsonl") as journal:
        journal.add(row(1))
        journal.add(BROKEN)
        journal.sync()
    with Journal(tmp_path / "new" / "journal.jsonl") as journal:
        assert journal.rows == {"key1": row(1)}
        assert journal.broken == {"key9": BROKEN}
        assert "key1" in journal
        assert "key2" not in journal


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_cut_anywhere_it_keeps_whole_lines_and_goes_on(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    entries = [row(1), BROKEN, row(2), row(3)]
    with Journal(path) as journal:
        for entry in entries:
            journal.add(entry)
    whole = path.read_bytes()
    cut = round(share * len(whole))
    path.write_bytes(whole[:cut])
    with Journal(path) as journal:
        lines = whole[:cut].count(b"\n")
        assert len(journal.rows) + len(journal.broken) == lines
        for entry in entries[lines:]:
            journal.add(entry)
    assert path.read_bytes() == whole


def test_a_line_damaged_in_the_middle_costs_its_own_row(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for number in (1, 2, 3):
            journal.add(row(number))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    with Journal(path) as journal:
        assert set(journal.rows) == {"key1", "key3"}


@pytest.mark.parametrize("locks_work", [True, False])
def test_only_one_may_have_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks_work: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if not locks_work:
        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    path = tmp_path / "journal.jsonl"
    with Journal(path), pytest.raises(ConfigError, match="another process"):
        Journal(path)
    with Journal(path):
        pass


def test_a_full_disk_is_named_and_costs_only_the_unfinished_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    write = os.write

    def half(file: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) // 2])

    with Journal(path) as journal:
        journal.add(row(1))
        monkeypatch.setattr("vidapt.appended.os.write", half)
        with pytest.raises(VidaptError, match="the disk is full"):
            journal.add(row(2))
        assert "key2" not in journal
    monkeypatch.undo()
    assert not path.read_bytes().endswith(b"\n")
    with Journal(path) as journal:
        assert set(journal.rows) == {"key1"}
        journal.add(row(2))
    with Journal(path) as journal:
        assert journal.rows == {"key1": row(1), "key2": row(2)}


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("vidapt.appended.os.write", lambda file, data: write(file, data[:7]))
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.add(row(1))
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.rows == {"key1": row(1)}


def test_cleared_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.add(row(1))
        journal.clear()
        journal.add(row(2))
    with Journal(path) as journal:
        assert set(journal.rows) == {"key2"}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"captions{suffix}"
    rows = [row(number) for number in range(4)]
    write_rows(path, rows)
    assert read_rows(path) == rows
    write_rows(path, [])
    assert read_rows(path) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("content", [b'{"text": "mine"}\n', b"not captions\n", b"[]\n", b"\xff\n"])
def test_a_file_of_something_else_is_not_taken_for_captions(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"captions{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="other than captions"):
        read_rows(path)
