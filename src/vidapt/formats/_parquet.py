"""Rows of a Parquet file, as JSON lines would hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError

PARQUET = ".parquet"
_AT_ONCE = 1000
"""Rows turned into Python's values together."""


def parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield `(number, values)` of every row, counted from 1; columns that hold nothing in it are left out.

    Raises:
        FormatError: If the file is missing, cut off or no Parquet file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE):
                for values in batch.to_pylist():
                    number += 1
                    yield number, _held(values)
    except FileNotFoundError:
        raise FormatError(path, "there is no such file", "check the path of the label file") from None
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise FormatError(
            f"{path}:{number + 1}", f"cannot be read as Parquet: {first}", "it may be cut off; copy it again"
        ) from error
    if not number:
        raise FormatError(f"{path}:1", "the file holds no rows")


def _held(value: Any) -> Any:
    """A value without the fields that hold nothing: a table has all fields in every row."""
    if isinstance(value, dict):
        return {name: _held(inner) for name, inner in value.items() if inner is not None}
    return [_held(inner) for inner in value] if isinstance(value, list) else value
