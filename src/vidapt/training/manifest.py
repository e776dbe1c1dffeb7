"""Checksums of files that are read back later, so that damage is noticed before it is trained on.

CRC-32 with the file's size: it is about accidents, not about attackers, and is the quickest that Python has
(2.5 GB/s on one core, against 1.1 GB/s of SHA-256 with the processor's own instructions).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

_BLOCK = 1 << 22


def checksum(path: Path) -> str:
    """Size and CRC-32 of a file.

    Raises:
        OSError: If it cannot be read.
    """
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return f"{size}:{crc:08x}"


def checksums(folder: Path) -> dict[str, str]:
    """The same of every file below a folder, by its path there; the folder's own manifest is left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: checksum(path) for name, path in names.items() if name != MANIFEST}


def differences(wanted: Mapping[str, str], folder: Path, *, extra: bool = True) -> list[str]:
    """What is wrong with a folder's files, in words; empty if all are as they were.

    Args:
        wanted: Their checksums.
        folder: Where they lie.
        extra: Whether a file that is not among them is wrong, too.

    Raises:
        OSError: If a file is there and cannot be read.
    """
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found)]
    wrong += [f"{name} is not part of it" for name in sorted(found - wanted.keys() - {MANIFEST}) if extra]
    changed = (name for name in sorted(wanted.keys() & found) if checksum(folder / name) != wanted[name])
    return wrong + [f"{name} is damaged" for name in changed]


def write_manifest(folder: Path, **facts: Any) -> None:
    """Write down every file of a folder that is complete, with some facts."""
    content = {**facts, "files": checksums(folder)}
    (folder / MANIFEST).write_text(json.dumps({**content, "crc32": _own(content)}), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_manifest` wrote.

    Raises:
        ValueError: If it is damaged.
        OSError: If it cannot be read.
    """
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.pop("crc32", None) != _own(content):
        raise ValueError(f"{MANIFEST} is damaged")
    return content


def _own(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
