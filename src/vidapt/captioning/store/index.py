"""The list of a job's inputs on disk: a Parquet file, a row group for each shard."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.captioning.store.inputs import Input, Listing
from vidapt.errors import ConfigError
from vidapt.files import write_file
from vidapt.progress import Reporter

_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.binary(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64()),
        pa.field("rate", pa.float64()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("wrong", pa.string()),
        pa.field("error", pa.string()),
        pa.field("like", pa.string()),
    ]
)
_AT_ONCE = 10_000
_TASK = "list clips"


class Index:
    """Inputs by their shards.

    Args:
        path: The file that `write_index` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        groups = [self._file.metadata.row_group(at).num_rows for at in range(self._file.num_row_groups)]
        self.sizes: tuple[int, ...] = tuple(groups)

    def __len__(self) -> int:
        return sum(self.sizes)

    def shard(self, number: int) -> list[Input]:
        """The inputs of a shard, in order."""
        return list(_inputs(self._file.read_row_group(number)))


def write_index(path: Path, listing: Listing, shard: int, report: Reporter) -> str:
    """List inputs once.

    Args:
        path: The file.
        listing: What to list.
        shard: Inputs of a shard.
        report: Told how many there are so far.

    Returns:
        What tells the list from any other.

    Raises:
        ConfigError: If there is no input at all, or a rate is given that none would have.
        FormatError: If a source cannot be read.
    """
    digest, count = hashlib.sha256(), 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        waiting = _SCHEMA.empty_table()
        for table in _tables(listing.inputs()):
            for column in table.columns:
                digest.update(repr(column.to_pylist()).encode("utf-8", "backslashreplace"))
            count += len(table)
            report(_TASK, count, count)
            waiting = pa.concat_tables([waiting, table]).combine_chunks()
            whole = len(waiting) // shard * shard
            if whole:
                writer.write_table(waiting.slice(0, whole), row_group_size=shard)
                waiting = waiting.slice(whole)
        if len(waiting):
            writer.write_table(waiting, row_group_size=shard)
    if not count:
        others = f"; {listing.ignored.total()} other files are" if listing.ignored else ""
        raise ConfigError(
            ", ".join(map(str, listing.sources)),
            f"no clip is here{others}",
            "give videos or pictures, a folder with some, a list or a tar file",
        )
    if listing.fps is not None and not listing.rated:
        raise ConfigError(
            "--fps", "no clip is a folder of pictures", "leave it out, or give --albums as well"
        )
    return digest.hexdigest()[:24]


def rewrite_index(path: Path, shards: Iterable[list[Input]]) -> None:
    """Put a list in place of another one, of the same shards."""

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, _SCHEMA) as writer:
            for inputs in shards:
                writer.write_table(_table(inputs))

    write_file(path, write)


def _tables(inputs: Iterable[Input]) -> Iterator[pa.Table]:
    rows: list[Input] = []
    for one in inputs:
        rows.append(one)
        if len(rows) == _AT_ONCE:
            yield _table(rows)
            rows = []
    if rows:
        yield _table(rows)


def _table(rows: list[Input]) -> pa.Table:
    columns = {one.name: [getattr(row, one.name) for row in rows] for one in fields(Input)}
    columns["path"] = [os.fsencode(path) for path in columns["path"]]
    return pa.Table.from_pydict(columns, schema=_SCHEMA)


def _inputs(table: pa.Table) -> Iterator[Input]:
    for row in table.to_pylist():
        yield Input(**{**row, "path": os.fsdecode(row["path"])})
