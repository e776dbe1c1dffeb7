"""One pass over a label file: where each row begins, and what it is in short."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from vidapt.errors import FormatError
from vidapt.formats._columns import Gathered, hashed
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

_MOST_TOLD = 20
"""Unsound rows named in one error; their total is always given."""

REMEMBERED = 20_000
"""Rows after which what was found of their files is forgotten, so that it does not grow with the labels."""

_Line = tuple[int, int, bytes]
"""Number of a line, the byte at which it begins, and the line."""


def lines_of(path: Path, part: Any, copy: Path) -> tuple[Iterator[_Line], bool]:
    """Rows of a file as lines, and whether they had to be written anew into `copy`."""
    if own := getattr(part, "rows", None):
        return _written_lines(own(path), copy), True
    if path.suffix.lower() not in (ZIPPED, PARQUET):
        first = first_character(path)
        if not first:
            raise FormatError(f"{path}:1", "the file holds no rows")
        if first != b"[":
            return _plain_lines(path), False
    return _written_lines(json_rows(path, 1 << 62), copy), True


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


class Reading:
    """Rows of a file, taken in one after another.

    Args:
        path: The file.
        part: Its format.
        root: Folder that relative paths of clips start from.
    """

    def __init__(self, path: Path, part: Any, root: str) -> None:
        self._path, self._at = path, path.absolute()
        self._part, self._outline = part, getattr(part, "outline", lambda values: None)
        self._root = f"{root}{os.sep}"
        self._make, self._made = part.reader(self._at, look=False), 0
        self.gathered = Gathered(str(self._at))
        self.starts, self.ends, self.lines = array("q"), array("q"), array("q")
        self._ids = array("Q") if getattr(part, "unique_ids", False) else None
        self._errors: list[FormatError] = []
        self._unsound = 0

    def add(self, number: int, at: int, raw: bytes) -> None:
        """Take in a line, of which its number and first byte are given."""
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
            if self._made % REMEMBERED == 0:
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
