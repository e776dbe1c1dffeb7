"""Clips that cannot be used, written down with their reasons: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidapt.files import write_text
from vidapt.nouns import Clip

QUARANTINE = "quarantine.jsonl"
"""In a run's folder."""


def rows(broken: Mapping[Clip, str]) -> list[dict[str, Any]]:
    """Path and reason of each clip; of a clip that is a part of its file, also which."""
    return [{"path": str(clip.path), **_stretch(clip), "reason": reason} for clip, reason in broken.items()]


def add(file: Path, broken: Mapping[Clip, str]) -> None:
    """Add clips to those that earlier stages wrote down.

    Raises:
        VidaptError: If the disk is full.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines += [json.dumps(row, ensure_ascii=False) for row in rows(broken)]
    write_text(file, "".join(line + "\n" for line in dict.fromkeys(lines)))


def _stretch(clip: Clip) -> dict[str, Any]:
    whole = clip.end_s is None and not clip.start_s
    return {} if whole else {"start_s": clip.start_s, "end_s": clip.end_s}
