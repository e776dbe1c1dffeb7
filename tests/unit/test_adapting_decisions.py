"""Decisions are told once, kept, and made anew with all that follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidapt.adapting.decisions import Decisions
from vidapt.errors import CheckpointError


def test_what_was_decided_is_told_once_and_kept(tmp_path: Path) -> None:
    file, told = tmp_path / "decisions.json", list[str]()
    first = Decisions(file, told.append)
    first.make("base", "a", "small")
    first.make("base", "a", "small")
    first.make("length", "2 epochs", "few clips")
    again = Decisions(file, told.append)
    again.make("base", "a", "small")
    assert told == ["base: a (small)", "length: 2 epochs (few clips)"]
    assert list(again) == list(first)


def test_what_follows_from_another_decision_is_forgotten(tmp_path: Path) -> None:
    file, told = tmp_path / "decisions.json", list[str]()
    decisions = Decisions(file, told.append)
    for about in ("data", "base", "changes"):
        decisions.make(about, "x", "y")
    decisions.forget("base")
    decisions.make("base", "x", "y")
    assert [one.about for one in Decisions(file, told.append)] == ["data", "base"]
    assert told == ["data: x (y)", "base: x (y)", "changes: x (y)", "base: x (y)"]
    decisions.forget("no such thing")
    assert [one.about for one in decisions] == ["data", "base"]
    decisions.forget()
    assert not list(decisions)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "decisions.json"
    file.write_text('[{"about": "base"')
    with pytest.raises(CheckpointError, match=r"decisions\.json(?s:.*)damaged"):
        Decisions(file, print)
