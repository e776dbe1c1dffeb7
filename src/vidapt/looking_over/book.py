"""What is looked over, read row by row from its index."""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidapt.looking_over.entries import Column, Item, Said
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.index import CARD, CLIPS, GROUP, ROWS, SAID, indexed
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent

_BODIES, _BRIEFS = 8, 128
"""Groups of rows that stay in memory, whole and in short."""


class Coded:
    """A column of texts, or of lists of such, as numbers of what there is."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = column.combine_chunks()
        if pa.types.is_list(values.type):
            values = pc.binary_join(values, "\0")
        coded = values.dictionary_encode()
        self._codes = np.asarray(coded.indices)
        self._names = [tuple(one.split("\0")) if one else () for one in coded.dictionary.to_pylist()]

    def having(self, wanted: Callable[[Sequence[str]], bool]) -> np.ndarray:
        """[rows] bool: whether what stands there is wanted."""
        found: np.ndarray = np.array([*map(wanted, self._names), False], bool)[self._codes]
        return found

    def one(self, row: int) -> str:
        """What stands in a row of a column of texts."""
        return "\0".join(self._names[self._codes[row]])

    def counts(self) -> Counter[str]:
        """How many rows have each text."""
        found: Counter[str] = Counter()
        for names, count in zip(
            self._names, np.bincount(self._codes, minlength=len(self._names)), strict=True
        ):
            for name in names:
                found[name] += int(count)
        return found


@dataclass(frozen=True)
class Short:
    """A row of the list: its id, what is asked, and what its answer begins with."""

    id: str
    question: str
    text: str


class _Table:
    """A file of an index, of which groups of rows are read and kept for a while. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._lock = Lock()
        self._groups: dict[tuple[str, ...], OrderedDict[int, Any]] = {}

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def columns(self, *names: str) -> pa.Table:
        """Whole columns."""
        with self._lock:
            return self._file.read(list(names))

    def group(self, number: int, names: tuple[str, ...], kept: int) -> dict[str, list[Any]]:
        """Columns of a group of rows, as lists."""
        with self._lock:
            groups = self._groups.setdefault(names, OrderedDict())
            if number not in groups:
                groups[number] = self._file.read_row_group(number, list(names)).to_pydict()
                if len(groups) > kept:
                    groups.popitem(last=False)
            groups.move_to_end(number)
            found: dict[str, list[Any]] = groups[number]
            return found

    def each(self, name: str) -> Iterator[pa.Array]:
        """A column, group by group; nothing of it is kept."""
        for number in range(self._file.metadata.num_row_groups):
            with self._lock:
                yield self._file.read_row_group(number, [name]).column(name).combine_chunks()


class _Items(Sequence[Item]):
    def __init__(self, table: _Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        bodies = self._table.group(row // GROUP, ("body",), _BODIES)["body"]
        return Item.from_json(json.loads(bodies[row % GROUP]))


class _Clips(Sequence[Clip]):
    def __init__(self, table: _Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @cached_property
    def _columns(self) -> list[pa.ChunkedArray]:
        names = ("id", "path", "start_s", "end_s", "rate")
        found: list[pa.ChunkedArray] = self._table.columns(*names).combine_chunks().columns
        return found

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        name, path, *rest = (column[number].as_py() for column in self._columns)
        return Clip(name, Path(os.fsdecode(path)), *rest)


class Book:
    """What there is to look at.

    Args:
        folder: An index (`index.write_index`).

    Attributes:
        items: Rows, in their order; each is read when it is asked for.
        clips: Each once.
        columns: Models, in the order in which they were named.
        notes: What a person should know of the files.
        verdict: What checks made of rows.
        check: Which checks did.
        kind: Question types.
        split: Parts of the data.
        flags: What the teachers' side noted.
        differ: In what labels and models differ.
        claims: Verdicts of `vidapt evidence` on clauses.
        drawn: [rows] Whether a row is shown for comparison.
    """

    def __init__(self, folder: Path) -> None:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        self.notes: list[str] = list(card["notes"])
        self.columns = [Column(**one) for one in card["columns"]]
        self._rows, self._said = _Table(folder / ROWS), _Table(folder / SAID)
        self.items: Sequence[Item] = _Items(self._rows)
        self.clips: Sequence[Clip] = _Clips(_Table(folder / CLIPS))
        names = ("verdict", "check", "kind", "split", "flags", "differ", "claims")
        table = self._rows.columns(*names, "drawn", "clips")
        self.verdict, self.check, self.kind, self.split, self.flags, self.differ, self.claims = (
            Coded(table.column(name)) for name in names
        )
        self.drawn = np.asarray(table.column("drawn").combine_chunks().to_numpy(zero_copy_only=False), bool)
        clips = table.column("clips").combine_chunks()
        counts = np.asarray(clips.value_lengths().fill_null(0))
        self._clips_of = np.asarray(clips.flatten())
        self._ends = np.cumsum(counts)
        rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        order = np.argsort(self._clips_of, kind="stable")
        self._by_clip, self._rows_by_clip = self._clips_of[order], rows[order]
        self._said_of = np.asarray(self._said.columns("clip").column("clip").combine_chunks())

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def first_clip(self) -> np.ndarray:
        """[rows] Number of the first clip of every row; -1 where it has none."""
        starts = np.concatenate(([0], self._ends[:-1])).astype(np.int64)
        found = np.full(len(self._ends), -1, np.int32)
        some = self._ends > starts
        found[some] = self._clips_of[starts[some]]
        return found

    def short(self, row: int) -> Short:
        """A row in short."""
        group = self._rows.group(row // GROUP, ("id", "question", "text"), _BRIEFS)
        return Short(*(group[name][row % GROUP] for name in ("id", "question", "text")))

    def rows_of(self, clip: int) -> list[int]:
        """Rows of a clip, in their order."""
        first, last = np.searchsorted(self._by_clip, (clip, clip + 1))
        found: list[int] = np.unique(self._rows_by_clip[first:last]).tolist()
        return found

    def said(self, clip: int) -> list[Said]:
        """What models said of a clip."""
        first, last = map(int, np.searchsorted(self._said_of, (clip, clip + 1)))
        bodies = (
            self._said.group(at // GROUP, ("body",), _BODIES)["body"][at % GROUP] for at in range(first, last)
        )
        return [Said.model_validate_json(body) for body in bodies]

    def find(self, ids: Iterable[str]) -> Iterator[tuple[int, str, str]]:
        """Row, id and digest of the texts (`decisions.about`) of every row that has one of these ids."""
        wanted = pa.array(list(ids), pa.string())
        if not len(wanted):
            return
        table = self._rows.columns("id", "about")
        names = table.column("id").combine_chunks()
        at = np.flatnonzero(np.asarray(pc.is_in(names, value_set=wanted)))
        some = table.take(pa.array(at))
        yield from zip(at.tolist(), *(some.column(name).to_pylist() for name in ("id", "about")), strict=True)

    def holding(self, words: str) -> np.ndarray:
        """[rows] bool: whether a text stands in a row's id, turns, answers or reason; case does not count."""
        found = [
            np.asarray(pc.match_substring(part, words)) for part in self._rows.each("words")
        ]  # group by group: all texts together may be large
        return np.concatenate(found) if found else np.zeros(0, bool)


def open_book(sources: Sources, report: Reporter = silent) -> Book:
    """Open what is looked over, by its index; see `index.indexed` for what it raises."""
    return Book(indexed(sources, report))
