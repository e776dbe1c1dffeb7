"""Folders of frozen versions (`vidapt data freeze`), which stand for the labels in them."""

from __future__ import annotations

from pathlib import Path

LABELS, CARD = "labels.jsonl", "version.json"


def frozen(path: Path) -> Path | None:
    """The label file of a frozen version, by its folder or by itself; None where a path is no such one."""
    try:
        if (path / CARD).is_file():
            return path / LABELS
        return path if path.name == LABELS and (path.parent / CARD).is_file() else None
    except (OSError, ValueError):  # no name that a file can have
        return None
