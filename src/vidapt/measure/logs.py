"""The log of a stage: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError

LOG = "work/metrics.jsonl"
"""In a stage's folder."""


def logged_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the line and what it holds; a last line that is cut off is left out.

    Raises:
        FormatError: If another one is no logged step.
    """
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise no_step(path, number, error) from error
        yield number, row


def no_step(path: Path, line: int, error: Exception) -> FormatError:
    """The error for a line that is no logged step."""
    return FormatError(f"{path}:{line}", f"is no logged step: {error!r}")
