"""An index beside a label file: where its rows begin and what they are in short, so that any is read alone.

It is made in one pass and kept in a hidden folder beside the labels (or, where nothing can be written there,
in the user's cache). What is no plain JSON lines (compressed lines, a JSON list, Parquet) is written once as
lines into that folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.digests import digest
from vidapt.errors import FormatError
from vidapt.files import write_folder
from vidapt.formats._columns import Columns
from vidapt.formats._home import home_of
from vidapt.formats._reading import REMEMBERED, Reading, lines_of
from vidapt.formats._row import row_of
from vidapt.formats._scan import line_value
from vidapt.nouns import Sample
from vidapt.video.identity import identity

_VERSION = 1
_ROWS, _ABOUT = "rows.jsonl", "index.json"
_TOLD_EVERY = 200_000

Told = Callable[[int, int], None]
"""Called with how many bytes of a file are read, and of how many."""


@dataclass(frozen=True)
class Placed:
    """Where rows stand.

    Attributes:
        file: The lines.
        ends: Byte behind each row's line.
        starts: Byte at which it begins.
        lines: What its place in the label file is called: a line, or in a table the number of a row.
    """

    file: Path
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray


class LabelTable:
    """A label file whose rows are read when they are asked for.

    Args:
        path: The label file.
        part: The format.
        folder: Its index, which is sound and of this file.
        kept: What the index says of itself.
    """

    def __init__(self, path: Path, part: Any, folder: Path, kept: dict[str, Any]) -> None:
        self.path, self.folder, self.digest = path, folder, str(kept["digest"])
        self.columns = Columns.open(folder, tuple(kept["kinds"]))
        names = ("starts", "ends", "lines")
        file = folder / _ROWS if kept["copied"] else path
        self._placed = Placed(file, *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))
        self._part, self._read_since = part, 0
        self._make = {look: part.reader(path, look=look) for look in (True, False)}

    def __len__(self) -> int:
        return len(self.columns)

    def where(self, number: int) -> str:
        """`file:line` of a row, counted from 0."""
        return f"{self.path}:{self._placed.lines[number]}"

    def sample(self, number: int, *, look: bool = True) -> Sample:
        """The sample of a row, counted from 0; clips are unpacked and looked for only where one is to `look`.

        Raises:
            FormatError: If the row is unsound.
        """
        start, end = int(self._placed.starts[number]), int(self._placed.ends[number])
        raw = os.pread(self._descriptor, end - start, start)
        value = line_value(raw, self.path, int(self._placed.lines[number]))
        self._read_since += 1
        if self._read_since > REMEMBERED:  # what was found of files is remembered, which has to end
            self._read_since = 0
            self._make = {look: self._part.reader(self.path, look=look) for look in (True, False)}
        sample: Sample = self._make[look](row_of(value, self.where(number), f"{self.path.stem}:{number + 1}"))
        return sample

    @cached_property
    def _descriptor(self) -> int:
        """The rows' file, opened once: a tokenizer is learned from tens of thousands of rows."""
        found = os.open(self._placed.file, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, found)
        return found


def indexed(path: Path, kind: str, part: Any, progress: Told = lambda done, total: None) -> LabelTable:
    """Open a label file by its index, which is made if it is not there or not of this file.

    Args:
        path: The label file.
        kind: Its format.
        part: The same, built.
        progress: Told how far it is.

    Raises:
        FormatError: Naming rows that are no rows of this format: up to twenty with their lines, and how many.
    """
    decides = [kind, part.cfg.model_dump(mode="json"), _root(path, part)]
    folder = home_of(path) / f"{path.name}-{digest(decides, 12)}"
    kept = _kept(folder, path)
    return LabelTable(path, part, folder, _made(path, part, folder, progress) if kept is None else kept)


def _root(path: Path, part: Any) -> str:
    root = getattr(part.cfg, "media_root", None) or path.parent
    return str(Path(root).absolute())


def _stamp(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"version": _VERSION, "bytes": status.st_size, "time": status.st_mtime_ns, "some": identity(path)}


def _kept(folder: Path, path: Path) -> dict[str, Any] | None:
    """What an index says of itself, if it is one of this file as it is."""
    try:
        kept: dict[str, Any] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        now = _stamp(path)
        return kept if all(kept.get(name) == value for name, value in now.items()) else None
    except (OSError, ValueError, AttributeError):
        return None


def _made(path: Path, part: Any, folder: Path, progress: Told) -> dict[str, Any]:
    before = _file_stamp(path)
    with write_folder(folder) as made:
        lines, copied = lines_of(path, part, made / _ROWS)
        reading = Reading(path, part, _root(path, part))
        for step, row in enumerate(lines):
            reading.add(*row)
            if not step % _TOLD_EVERY:
                progress(min(row[1], before["bytes"]), before["bytes"])
        reading.refuse()
        columns = reading.gathered.columns()
        columns.save(made)
        for name in ("starts", "ends", "lines"):
            np.save(made / f"{name}.npy", np.frombuffer(getattr(reading, name), np.int64))
        kept = {**before, "copied": copied, "kinds": list(columns.kinds), "digest": _whole(path)}
        if before != _stamp(path):
            raise FormatError(path, "changed while it was read", "wait until it is written, and try again")
        (made / _ABOUT).write_text(json.dumps(kept), encoding="utf-8")
    progress(before["bytes"], before["bytes"])
    return kept


def _file_stamp(path: Path) -> dict[str, Any]:
    try:
        return _stamp(path)
    except FileNotFoundError:
        raise FormatError(path, "there is no such file", "check the path of the label file") from None
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error


def _whole(path: Path) -> str:
    """Digest of all that is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
