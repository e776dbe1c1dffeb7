"""Where is kept what is made of label files: a hidden folder beside them, or the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from vidapt.digests import digest

_NAME = ".vidapt"


def home_of(path: Path) -> Path:
    """Folder for what is made of a label file: beside it, or in the user's cache where that is read-only."""
    folder = path.absolute().parent
    beside = folder / _NAME
    if os.access(beside if beside.exists() else folder, os.W_OK):
        return beside
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vidapt" / digest(str(folder), 12)
