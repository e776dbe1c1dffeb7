"""Clips that cannot be used, and what has to be said of others, written down: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.errors import BrokenClip
from vidapt.files import write_text
from vidapt.nouns import Clip

QUARANTINE = "quarantine.jsonl"
"""In a run's folder."""

NOTES = "notes.jsonl"
"""Beside it: of clips that are used, what they lack or what was assumed."""


def rows(broken: Mapping[Clip, str]) -> list[dict[str, Any]]:
    """Path and reason of each clip; of a clip that is a part of its file, also which."""
    return [{"path": str(clip.path), **_stretch(clip), "reason": reason} for clip, reason in broken.items()]


def add(file: Path, broken: Mapping[Clip, str]) -> None:
    """Add clips to those that earlier stages wrote down.

    Raises:
        VidaptError: If the disk is full.
    """
    _add(file, rows(broken))


def add_rows(file: Path, unsound: Mapping[str, str]) -> None:
    """Add rows of label files that cannot be used, by `file:line`, with their reasons.

    Raises:
        VidaptError: If the disk is full.
    """
    _add(file, [{"label": where, "reason": reason} for where, reason in unsound.items()])


def add_notes(file: Path, notes: Mapping[Clip, Sequence[str]]) -> None:
    """Add what has to be said of clips to what earlier stages wrote down.

    Raises:
        VidaptError: If the disk is full.
    """
    _add(file, [{"path": str(c.path), **_stretch(c), "notes": list(told)} for c, told in notes.items()])


def _add(file: Path, found: Sequence[Mapping[str, Any]]) -> None:
    # Not `splitlines`: JSON may hold the line ends of Unicode as they are.
    there = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    lines = [line for line in there if line]
    lines += [json.dumps(row, ensure_ascii=False) for row in found]
    write_text(file, "".join(line + "\n" for line in dict.fromkeys(lines)))


def _stretch(clip: Clip) -> dict[str, Any]:
    whole = clip.end_s is None and not clip.start_s
    return {} if whole else {"start_s": clip.start_s, "end_s": clip.end_s}


def reason_of(clip: Clip, broken: BrokenClip) -> str:
    """Why a clip cannot be used; of an album it may be one of the pictures that is broken."""
    return ("" if broken.path == clip.path else f"{broken.path.name}: ") + broken.reason
