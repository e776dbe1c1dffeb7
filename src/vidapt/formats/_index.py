"""An index beside a label file: where its rows begin and what they are in short, so that any is read alone.

It is made in one pass and kept in a hidden folder beside the labels (or, where nothing can be written there,
in the user's cache). What is no plain JSON lines (compressed lines, a JSON list, Parquet) is written once as
lines into that folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from vidapt.digests import digest
from vidapt.errors import FormatError
from vidapt.files import write_folder
from vidapt.formats._columns import Columns, Gathered, hashed
from vidapt.formats._home import home_of
from vidapt.formats._outline import outline_of
from vidapt.formats._parquet import PARQUET
from vidapt.formats._row import row_of
from vidapt.formats._scan import (
    BOM,
    MAX_ROW_BYTES,
    ZIPPED,
    first_character,
    json_rows,
    line_value,
    too_long,
)
from vidapt.nouns import Sample
from vidapt.video.identity import identity

_VERSION = 1
_ROWS, _ABOUT = "rows.jsonl", "index.json"
_TOLD_EVERY = 200_000
_MOST_TOLD = 20
"""Unsound rows named in one error; their total is always given."""

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
        with self._placed.file.open("rb") as file:
            file.seek(start)
            raw = file.read(end - start)
        value = line_value(raw, self.path, int(self._placed.lines[number]))
        self._read_since += 1
        if self._read_since > _REMEMBERED:  # what was found of files is remembered, which has to end
            self._read_since = 0
            self._make = {look: self._part.reader(self.path, look=look) for look in (True, False)}
        sample: Sample = self._make[look](row_of(value, self.where(number), f"{self.path.stem}:{number + 1}"))
        return sample


_REMEMBERED = 20_000


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
        lines, copied = _lines_of(path, part, made)
        reading = _Reading(path, part)
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


_Line = tuple[int, int, bytes]
"""Number of a line, the byte at which it begins, and the line."""


def _lines_of(path: Path, part: Any, folder: Path) -> tuple[Iterator[_Line], bool]:
    """Rows of a file as lines, and whether they had to be written anew into a folder."""
    if own := getattr(part, "rows", None):
        return _written_lines(own(path), folder / _ROWS), True
    if path.suffix.lower() not in (ZIPPED, PARQUET):
        first = first_character(path)
        if not first:
            raise FormatError(f"{path}:1", "the file holds no rows")
        if first != b"[":
            return _plain_lines(path), False
    return _written_lines(json_rows(path, 1 << 62), folder / _ROWS), True


def _plain_lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        at = number = 0
        while raw := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(raw) > MAX_ROW_BYTES:
                raise too_long(f"{path}:{number}")
            skipped = len(BOM) if number == 1 and raw.startswith(BOM) else 0
            yield number, at + skipped, raw[skipped:]
            at += len(raw)


def _written_lines(rows: Iterable[tuple[int, Any]], copy: Path) -> Iterator[_Line]:
    with copy.open("wb") as file:
        at = 0
        for number, value in rows:
            raw = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n"
            file.write(raw)
            yield number, at, raw
            at += len(raw)


class _Reading:
    """Rows of a file, taken in one after another."""

    def __init__(self, path: Path, part: Any) -> None:
        self._path, self._at = path, path.absolute()
        self._part, self._outline = part, getattr(part, "outline", lambda values: None)
        self._root = f"{_root(path, part)}{os.sep}"
        self._make, self._made = part.reader(self._at, look=False), 0
        self.gathered = Gathered(str(self._at))
        self.starts, self.ends, self.lines = array("q"), array("q"), array("q")
        self._ids = array("Q") if getattr(part, "unique_ids", False) else None
        self._errors: list[FormatError] = []
        self._unsound = 0

    def add(self, number: int, at: int, raw: bytes) -> None:
        try:
            values = from_json(raw, allow_inf_nan=False, cache_strings="keys")
            one = self._outline(values) if isinstance(values, dict) else None
        except ValueError:
            values, one = None, None
        if one is None:
            one = self._slowly(number, raw)
            if one is None:
                return
        self.gathered.add(one, self._root)
        self.starts.append(at)
        self.ends.append(at + len(raw))
        self.lines.append(number)
        if self._ids is not None and isinstance(values, dict) and values.get("id") is not None:
            self._ids.append(hashed(str(values["id"])))

    def _slowly(self, number: int, raw: bytes) -> Any:
        """A row as the format itself reads it; nothing of a blank or unsound one."""
        try:
            value = line_value(raw, self._path, number)
            if value is None:
                return None
            self._made += 1
            if self._made % _REMEMBERED == 0:
                self._make = self._part.reader(self._at, look=False)
            return outline_of(self._make(row_of(value, f"{self._path}:{number}", str(number))))
        except FormatError as error:
            self._unsound += 1
            if len(self._errors) < _MOST_TOLD:
                self._errors.append(error)
            return None

    def refuse(self) -> None:
        """Tell of unsound rows, of repeated ids, and of a file without rows."""
        if self._errors:
            first, *others = self._errors
            told = "".join(f"\n  {one.where}: {one.found}" for one in others)
            more = self._unsound - len(self._errors)
            told += f"\n  ... and {more} more" if more else ""
            also = f"; {self._unsound - 1} more rows are unsound:{told}" if others else ""
            raise FormatError(first.where, first.found + also, first.remedy)
        if not len(self.starts):
            raise FormatError(f"{self._path}:1", "the file holds no rows")
        if self._ids is not None and len(self._ids) > 1:
            self._refuse_doubles(np.sort(np.frombuffer(self._ids, np.uint64)))

    def _refuse_doubles(self, ordered: np.ndarray) -> None:
        doubles = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(doubles):
            return
        seen: dict[str, int] = {}
        wanted = set(doubles[:1000].tolist())
        for line, value in json_rows(self._path, 1 << 62):
            name = str(value.get("id"))
            if hashed(name) in wanted:
                if name in seen:
                    other = f"{self._path}:{seen[name]}"
                    raise FormatError(f"{self._path}:{line}", f"the id {name!r} is already that of {other}")
                seen[name] = line
