"""Label files that are named together, as shards of one data set are."""

from __future__ import annotations

import re
from pathlib import Path

from vidapt.errors import FormatError
from vidapt.files import matching
from vidapt.formats._frozen import frozen


def shards_of(path: Path) -> list[Path]:
    """Return the files that a path names: itself, or all that its pattern (`part-*.jsonl`) fits.

    The folder of a frozen version is the label file in it.

    Returns:
        Files in natural order: `part-2` before `part-10`.

    Raises:
        FormatError: If a pattern fits nothing.
    """
    found = matching(path)
    if not found:
        raise FormatError(path, "there is no such file or folder", "check the path of the labels")
    return sorted((frozen(one) or one for one in found), key=lambda one: natural(str(one)))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which numbers count as numbers; the name itself decides between `1` and `01`."""
    pieces = re.split(r"([0-9]+)", name.lower())
    return [(int(piece), "") if i % 2 else (0, piece) for i, piece in enumerate(pieces)], name
