"""Rows of a store: those of `captioning.rows`, with what became of every clip."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.captioning.rows import SCHEMA
from vidapt.files import write_file

DONE, FAILED, SKIPPED = "done", "failed", "skipped"
STATUSES = (DONE, FAILED, SKIPPED)

ADDED = pa.schema(
    [
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("copy_of", pa.string()),
        pa.field("prompts", pa.list_(pa.string()), nullable=False),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        pa.field("cues", pa.list_(pa.string())),
        pa.field("finishes", pa.list_(pa.string()), nullable=False),
        pa.field("tokens", pa.list_(pa.int64()), nullable=False),
        pa.field("logprobs", pa.list_(pa.float64()), nullable=False),
        pa.field("mean_logprob", pa.float64()),
        pa.field("visual_tokens", pa.int64()),
        pa.field("text_tokens", pa.int64()),
        pa.field("cost", pa.float64()),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("content", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
    ]
)
"""Columns that a row of a store has beside those of every caption.

`status` is `done`, `failed` or `skipped`. `error` (a class) and `reason` say why one failed. `copy_of` is the
clip that a skipped one shows the same as. `prompts`, `captions`, `finishes`, `tokens` and `logprobs` (mean
natural logarithms) have one entry for each question; `caption`, `finish` and `mean_logprob` are those of the
first, `new_tokens` of all. `cues` are the captions of other clips that stood before the questions as
examples, null without. `visual_tokens` and `text_tokens` are null where a server does not tell, `cost` is
null where no price is known. `file` is where the clip lies; of a tar file `offset` and `size` say which part.
`content` is the hash of what is in it, `stamp` that of its place, size and times, by which an unchanged file
is known without being read.
"""

ROWS = pa.schema([*(one for one in SCHEMA if one.name not in ADDED.names), *ADDED])
"""All columns."""

_AT_ONCE = 1000
_ERRORS = "vidapt.errors"


def empty_row() -> dict[str, Any]:
    """A row that says nothing yet: of every column that must be there, nothing of its kind."""
    return dict(_EMPTY)


def priced(rows: Sequence[dict[str, Any]], price: float | None) -> list[dict[str, Any]]:
    """Rows with what each cost by its seconds and the price of an hour, unless it says so itself."""
    if price is None:
        return list(rows)
    return [
        row if row["cost"] is not None else row | {"cost": round(row["seconds"] * price / 3600, 9)}
        for row in rows
    ]


def write_part(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the rows of a shard in place in one step; the head of the file counts each status and error."""
    counts = {f"vidapt.{one}": str(sum(row["status"] == one for row in rows)) for one in STATUSES}
    errors = Counter(row["error"] for row in rows if row["status"] == FAILED)
    table = pa.Table.from_pylist(
        list(rows), schema=ROWS.with_metadata({**counts, _ERRORS: json.dumps(errors)})
    )
    write_file(path, lambda temporary: pq.write_table(table, temporary))


def part_counts(path: Path) -> Counter[str]:
    """How many rows of a part have each status, and each error (`failed/CLASS`), by its head alone."""
    return counted(pq.read_schema(path))


def counted(schema: pa.Schema) -> Counter[str]:
    """The same of what stands at its end."""
    held = schema.metadata or {}
    counts = Counter({one: int(held.get(f"vidapt.{one}".encode(), b"0")) for one in STATUSES})
    errors: dict[str, int] = json.loads(held.get(_ERRORS.encode(), b"{}"))
    return counts + Counter({f"{FAILED}/{name}": count for name, count in errors.items()})


def errors_of(counts: Mapping[str, int]) -> dict[str, int]:
    """How often each error is among counts, the most frequent first."""
    found = {
        name.removeprefix(f"{FAILED}/"): n for name, n in counts.items() if name.startswith(f"{FAILED}/")
    }
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def part_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a part, in order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            yield from batch.to_pylist()


def _nothing(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    return "" if pa.types.is_string(field.type) else 0


_EMPTY = {one.name: _nothing(one) for one in ROWS}
