"""Rows of earlier jobs: what was captioned alike is not captioned again, and unchanged files are not read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.captioning.store.rows import DONE

_COLUMNS = ["key", "stamp", "content", "status"]
_BYTES = 12
_HASH = f"S{_BYTES}"
"""A hash of 24 hex digits, as the bytes that they are."""

_MOST = 1 << 32
"""More rows than a part has."""


class Kept:
    """Finished rows by their keys, and contents by their stamps: some 100 bytes a row, whatever rows hold.

    Args:
        parts: Parquet files of earlier jobs.
    """

    def __init__(self, parts: Iterable[Path] = ()) -> None:
        self._parts = list(parts)
        keys, stamps, contents, places = _columns(self._parts)
        by_key = np.argsort(keys, kind="stable")
        by_key = by_key[(places[by_key] >= 0) & (keys[by_key] != b"")]
        self._keys, self._places = keys[by_key], places[by_key]
        del keys, places, by_key
        by_stamp = np.argsort(stamps, kind="stable")
        self._stamps, self._contents = stamps[by_stamp], contents[by_stamp]
        self._open: tuple[int, list[dict[str, Any]]] = (-1, [])

    def content(self, stamp: str) -> str | None:
        """What is in a file of a stamp; None if nobody has looked."""
        at = _find(self._stamps, stamp)
        return None if at is None or not self._contents[at] else _digits(self._contents[at])

    def __contains__(self, key: str) -> bool:
        return _find(self._keys, key) is not None

    def row(self, key: str) -> dict[str, Any]:
        """The row of a key that is here."""
        at = _find(self._keys, key)
        assert at is not None
        part, row = divmod(int(self._places[at]), _MOST)
        if self._open[0] != part:
            self._open = part, pq.read_table(self._parts[part]).to_pylist()
        return dict(self._open[1][row])


def _columns(parts: list[Path]) -> tuple[np.ndarray, ...]:
    """[N] keys, stamps and contents of all rows, and their places; -1 where a row has no captions.

    A job that is finished may remove an earlier one's parts meanwhile; they count as empty.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for number, path in enumerate(parts):
        with contextlib.suppress(FileNotFoundError):
            table = pq.read_table(path, columns=_COLUMNS)
            done = np.array([status == DONE for status in table["status"].to_pylist()], bool)
            places = np.where(done, number * _MOST + np.arange(len(table)), -1)
            found.append((*(_hashes(table[name]) for name in _COLUMNS[:3]), places))
    empty = (*(np.empty(0, _HASH) for _ in _COLUMNS[:3]), np.empty(0, np.int64))
    return tuple(np.concatenate(each) for each in zip(empty, *found, strict=True))


def _hashes(column: pa.ChunkedArray) -> np.ndarray:
    return np.array([bytes.fromhex(text) for text in column.to_pylist()], _HASH)


def _find(ordered: np.ndarray, text: str) -> int | None:
    wanted = np.bytes_(bytes.fromhex(text).rstrip(b"\0"))  # zeros at the end are dropped in an array, too
    at = int(np.searchsorted(ordered, wanted))
    return at if at < len(ordered) and ordered[at] == wanted else None


def _digits(found: bytes) -> str:
    """The digits of a hash, of which an array drops zeros at the end."""
    return found.hex().ljust(2 * _BYTES, "0")
