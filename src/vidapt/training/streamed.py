"""Labels that are read row by row, as steps come to their clips: memory does not grow with their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vidapt.digests import digest
from vidapt.errors import ConfigError, FormatError
from vidapt.files import exists
from vidapt.formats import Table, numbered
from vidapt.metrics.spans import stretch_of
from vidapt.nouns import Sample
from vidapt.recipe import DataSource
from vidapt.training import quarantine
from vidapt.training.sightings import Sightings
from vidapt.training.unsupported import learned, no_claims

_MIX = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
"""Odd numbers whose products spread small ones over 64 bits."""

_SOME = 50_000
"""Rows from which a tokenizer is learned, evenly spread."""

_LOOKED_AT = 1000
"""Rows of a file of which one must have claims, evenly spread."""


@dataclass(frozen=True)
class Groups:
    """Which rows are about which clip.

    Attributes:
        rows: Rows of all tables, group by group.
        starts: Where a group's rows begin there, and at last where they end.
        sources: Of every group, the source it comes from.
        letters: Of every group, those of its texts.
        mediums: Of every group, the kind of its clips; see `formats.MEDIUMS`.
    """

    rows: np.ndarray
    starts: np.ndarray
    sources: np.ndarray
    letters: np.ndarray
    mediums: np.ndarray


class Streamed:
    """What a stage's sources name, row by row.

    Args:
        sources: Label files and their filters.
        tables: Those of each source.
        run: Folder of the run, in which is written down what cannot be used; None where there is none.

    Raises:
        ConfigError: If a source yields nothing.
    """

    def __init__(
        self, sources: Sequence[DataSource], tables: Sequence[Sequence[Table]], run: Path | None
    ) -> None:
        self.tables = [table for some in tables for table in some]
        self._source = [index for index, some in enumerate(tables) for _ in some]
        self._sources = sources
        self._ends = np.cumsum([len(table) for table in self.tables])
        self._run = run
        self._told: set[str] = set()
        self._seen: dict[int, Sightings] = {}
        self._clips = _across(self.tables)
        self._used = [
            mask for source, some in zip(sources, tables, strict=True) for mask in _let_through(source, some)
        ]
        for source, some in zip(sources, tables, strict=True):
            _refuse_unchecked(source, some)

    @cached_property
    def digest(self) -> str:
        """Of all that is in the label files."""
        return digest([table.digest for table in self.tables])

    @cached_property
    def count(self) -> int:
        """Rows that filters let through."""
        return sum(
            len(table) if mask is None else int(mask.sum())
            for table, mask in zip(self.tables, self._used, strict=True)
        )

    def texts(self) -> Iterator[str]:
        """Texts of some rows, from which a tokenizer can be learned."""
        total = int(self._ends[-1])
        for row in np.unique(np.linspace(0, total - 1, min(total, _SOME)).astype(np.int64)):
            try:
                sample = self._sample(int(row), look=False)
            except FormatError:  # told when a step comes to it
                continue
            yield from (turn.text for turn in sample.turns)

    def groups(self, *, apart: bool, clips_first: bool, separate: bool) -> Groups:
        """Rows of equal clips and an equal beginning, in order of first appearance.

        Args:
            apart: Conversations about one clip are taken apart.
            clips_first: The prompt puts clips in front of a turn's words.
            separate: Sources are mixed, so that their clips stay apart.
        """
        keys, used = [], []
        first = 0
        heads = [one.columns.first if clips_first else one.columns.head for one in self.tables]
        plain = not separate and not any(head.any() for head in heads)
        for index, (table, clips) in enumerate(zip(self.tables, self._clips, strict=True)):
            columns, mask = table.columns, self._used[index]
            key = np.asarray(columns.clip) if clips is None else clips[columns.clip]
            if not plain:
                key = _joined(
                    key, heads[index], columns.questions, self._source[index] if separate else 0, apart
                )
            keys.append(key if mask is None else key[mask])
            rows = np.arange(first, first + len(table), dtype=np.int32)
            used.append(rows if mask is None else rows[mask])
            first += len(table)
        return self._grouped(_one(keys), _one(used))

    def _grouped(self, keys: np.ndarray, rows: np.ndarray) -> Groups:
        group = numbered(keys)[1]
        if len(group) > 1 and (group[1:] < group[:-1]).any():
            order = np.argsort(group, kind="stable")
            rows, group = rows[order], group[order]
        starts = np.append(np.flatnonzero(np.diff(group, prepend=-1)), len(group))
        at = rows[starts[:-1]]
        tables = np.searchsorted(self._ends, at, side="right")
        letters = np.add.reduceat(self._column("letters", rows), starts[:-1])
        sources = np.asarray(self._source)[tables]
        return Groups(rows, starts, sources, letters, self._column("medium", at))

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        if len(self.tables) == 1:
            return np.asarray(getattr(self.tables[0].columns, name)[rows])
        whole = np.concatenate([getattr(table.columns, name) for table in self.tables])
        return np.asarray(whole[rows])

    def sample(self, row: int) -> Sample:
        """The sample of a row of all tables, whose clips are what they were when the run first saw them.

        Raises:
            FormatError: If the row is unsound or left out, or a file is missing.
            ChangedError: If a clip has changed.
            ConfigError: If an answer of type `when` is no stretch of time.
        """
        sample = self._sample(row)
        absent = next((clip.path for clip in sample.media if not exists(clip.path)), None)
        if absent is not None:
            raise FormatError(sample.source, f"there is no file {absent}")
        stretch_of(sample)
        if sample.media and self._begun is not None:
            table, inside = self._place(row)
            try:
                self._sightings(table, self._begun).see(
                    int(self.tables[table].columns.clip[inside]), sample.media
                )
            except OSError as error:
                raise FormatError(sample.source, f"its clip cannot be read: {error}") from error
        now = learned(sample, self._sources[self._source[self._place(row)[0]]].unsupported)
        if now is None:
            raise FormatError(sample.source, "is left out by `unsupported`")
        return now

    def set_aside(self, where: str, reason: str) -> None:
        """Write down, once, a row that cannot be used."""
        if where not in self._told and self._begun is not None:
            self._told.add(where)
            quarantine.add_rows(self._begun / quarantine.QUARANTINE, {where: reason})

    def where(self, row: int) -> str:
        """`file:line` of a row."""
        table, inside = self._place(row)
        return self.tables[table].where(inside)

    def _place(self, row: int) -> tuple[int, int]:
        table = int(np.searchsorted(self._ends, row, side="right"))
        return table, row - (int(self._ends[table - 1]) if table else 0)

    def _sample(self, row: int, *, look: bool = True) -> Sample:
        table, inside = self._place(row)
        return self.tables[table].sample(inside, look=look)

    @property
    def _begun(self) -> Path | None:
        """The run's folder, once it is there: a recipe that is only looked at leaves nothing behind."""
        return self._run if self._run is not None and self._run.is_dir() else None

    def _sightings(self, table: int, run: Path) -> Sightings:
        if table not in self._seen:
            one = self.tables[table]
            self._seen[table] = Sightings(run, one.digest, len(one.columns.about))
        return self._seen[table]


def _across(tables: Sequence[Table]) -> list[np.ndarray | None]:
    """For each table its clips' numbers among those of all; nothing where there is one table alone."""
    if len(tables) == 1:
        return [None]
    ranks = numbered(np.concatenate([table.columns.about for table in tables]))[1]
    return list(np.split(ranks, np.cumsum([len(table.columns.about) for table in tables])[:-1]))


def _let_through(source: DataSource, tables: Sequence[Table]) -> list[np.ndarray | None]:
    """Rows of a source's tables that its filters let through; nothing where all are."""
    if source.types is None and source.limit is None and not source.skip:
        return [None] * len(tables)
    last = np.inf if source.limit is None else source.skip + source.limit
    masks: list[np.ndarray | None] = []
    for table, ranks in zip(tables, _across(tables), strict=True):
        columns = table.columns
        number = columns.clip if ranks is None else ranks[columns.clip]
        mask = (number >= source.skip) & (number < last)
        if source.types is not None:
            mask &= np.isin(
                columns.kind, [columns.kinds.index(k) for k in source.types if k in columns.kinds]
            )
        masks.append(mask)
    if not any(mask.any() for mask in masks if mask is not None):
        raise ConfigError(
            source.path, "holds no sample that the filters let through", "check types, skip and limit"
        )
    return masks


def _refuse_unchecked(source: DataSource, tables: Sequence[Table]) -> None:
    """See that some of the rows have claims, where something is to be done with these."""
    if not source.unsupported.changes:
        return
    for table in tables:
        for row in np.unique(np.linspace(0, len(table) - 1, min(len(table), _LOOKED_AT)).astype(np.int64)):
            try:
                if table.sample(int(row), look=False).claims:
                    return
            except FormatError:  # told when a step comes to it
                continue
    raise no_claims(source)


def _joined(
    clip: np.ndarray, head: np.ndarray, questions: np.ndarray, source: int, apart: bool
) -> np.ndarray:
    """One key of a clip, of what is read before it, and of its source."""
    if apart:  # each question then stands alone behind its clip
        head = np.where(questions > 1, np.uint64(0), head)
    by_clip = clip.astype(np.uint64) * _MIX[0]
    key: np.ndarray = by_clip ^ (head * _MIX[1]) ^ np.uint64(source * int(_MIX[2]) % (1 << 64))
    return key


def _one(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of several tables as one, without a copy of a single one."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns)
