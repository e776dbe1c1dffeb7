"""Rows of earlier jobs: what was captioned alike is not captioned again, and unchanged files are not read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vidapt.captioning.store.rows import DONE

_COLUMNS = ["key", "stamp", "content", "status"]
_DIGITS = "S24"
_NONE = np.empty(0, np.int64)


class Kept:
    """Finished rows by their keys, and contents by their stamps: some 100 bytes a row, whatever rows hold.

    Args:
        parts: Parquet files of earlier jobs.
    """

    def __init__(self, parts: Iterable[Path] = ()) -> None:
        self._parts = list(parts)
        found = [_read(path, at) for at, path in enumerate(self._parts)]
        keys, stamps, contents, places, done = map(
            np.concatenate,
            zip(*found, strict=True) if found else [[np.empty(0, _DIGITS)]] * 3 + [[_NONE]] * 2,
        )
        chosen = done.astype(bool) & (keys != b"")
        self._keys, self._places = keys[chosen], places[chosen]
        by_key = np.argsort(self._keys, kind="stable")
        self._keys, self._places = self._keys[by_key], self._places[by_key]
        by_stamp = np.argsort(stamps, kind="stable")
        self._stamps, self._contents = stamps[by_stamp], contents[by_stamp]
        self._open: tuple[int, list[dict[str, Any]]] = (-1, [])

    def content(self, stamp: str) -> str | None:
        """What is in a file of a stamp; None if nobody has looked."""
        at = _find(self._stamps, stamp)
        return None if at is None else self._contents[at].decode() or None

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


_MOST = 1 << 32
"""More rows than a part has."""


def _read(path: Path, number: int) -> tuple[np.ndarray, ...]:
    table = pq.read_table(path, columns=_COLUMNS)
    texts = [np.array(table[name].to_pylist(), _DIGITS) for name in _COLUMNS[:3]]
    done = np.array([one == DONE for one in table["status"].to_pylist()], np.int64)
    return *texts, number * _MOST + np.arange(len(table)), done


def _find(ordered: np.ndarray, text: str) -> int | None:
    at = int(np.searchsorted(ordered, text.encode()))
    return at if at < len(ordered) and ordered[at] == text.encode() else None
