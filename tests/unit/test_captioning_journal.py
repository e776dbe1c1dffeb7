from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt import locks
from vidapt.captioning.journal import Cut, Journal, Stretch
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


def cut(number: int) -> Cut:
    return Cut(f"key{number}", "s", (Stretch(None, None), Stretch(0.0, number / 3, ("odd \u2028 «so»",))))


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_cut_anywhere_it_keeps_whole_lines_and_goes_on(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    entries = [cut(number) for number in range(4)]
    with Journal(path) as journal:
        for entry in entries:
            journal.add(entry)
    whole = path.read_bytes()
    at = round(share * len(whole))
    path.write_bytes(whole[:at])
    with Journal(path) as journal:
        lines = whole[:at].count(b"\n")
        assert list(journal.cuts.values()) == entries[:lines]
        for entry in entries[lines:]:
            journal.add(entry)
    assert path.read_bytes() == whole


def test_a_line_damaged_in_the_middle_costs_its_own_film(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for number in (1, 2, 3):
            journal.add(cut(number))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * (len(lines[1]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    with Journal(path) as journal:
        assert set(journal.cuts) == {"key1", "key3"}


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
        journal.add(cut(1))
        monkeypatch.setattr("vidapt.appended.os.write", half)
        with pytest.raises(VidaptError, match="the disk is full"):
            journal.add(cut(2))
        assert "key2" not in journal.cuts
    monkeypatch.undo()
    assert not path.read_bytes().endswith(b"\n")
    with Journal(path) as journal:
        assert set(journal.cuts) == {"key1"}
        journal.add(cut(2))
    with Journal(path) as journal:
        assert journal.cuts == {"key1": cut(1), "key2": cut(2)}


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("vidapt.appended.os.write", lambda file, data: write(file, data[:7]))
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.add(cut(1))
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.cuts == {"key1": cut(1)}


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
