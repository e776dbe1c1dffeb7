"""What tells the content of two clips apart, in a few reads, wherever they lie."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from vidapt.video.pictures import pictures_in

_BLOCK = 1 << 18
"""Bytes hashed at the head, the middle and the tail of a file; smaller files are hashed whole."""

_PICTURES = 16
"""Pictures of a folder that are read; of the others names and sizes count."""


def identity(path: Path) -> str:
    """Digest of a clip's content: its size and bytes from its head, middle and tail.

    Neither the place nor the time of a file counts, so that a data set may be moved. Of a folder of pictures,
    the names (they give the order) and sizes of all count, and the bytes of a few, evenly chosen.

    Raises:
        OSError: If it cannot be read.
    """
    seen = hashlib.sha256()
    if not path.is_dir():
        _add(seen, path)
        return seen.hexdigest()
    files = sorted(pictures_in(path))
    last = len(files) - 1
    read = {number * last // (_PICTURES - 1) for number in range(_PICTURES)} if last >= _PICTURES else None
    for number, file in enumerate(files):
        seen.update(os.fsencode(file.name))
        _add(seen, file, read=read is None or number in read)
    return seen.hexdigest()


def _add(seen: hashlib._Hash, path: Path, *, read: bool = True) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe or device would never end; decoding refuses it
        return
    size = status.st_size
    seen.update(f"{size}:".encode())
    if not read:
        return
    with path.open("rb") as file:
        if size <= 3 * _BLOCK:
            seen.update(file.read(3 * _BLOCK))
            return
        for start in (0, (size - _BLOCK) // 2, size - _BLOCK):
            file.seek(start)
            seen.update(file.read(_BLOCK))
