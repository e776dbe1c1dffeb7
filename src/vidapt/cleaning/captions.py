"""Captions that `vidapt caption` wrote, as labels that can be cleaned and learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vidapt.captioning.rows import CaptionRow
from vidapt.nouns import Clip, Sample, Turn

_MARKS = frozenset({"caption", "clip", "model_hash", "visual_tokens", "new_tokens", "seconds"})
_LONGEST_ROW = 1 << 24


def is_captions(path: Path) -> bool:
    """Whether a file's first row is one of `vidapt caption`."""
    try:
        if path.suffix == ".parquet":
            return set(pq.read_schema(path).names) >= _MARKS
        if path.suffix != ".jsonl" or not path.is_file():
            return False
        with path.open("rb") as file:
            first = json.loads(file.readline(_LONGEST_ROW))
    except (OSError, ValueError, RecursionError, pa.ArrowException):
        return False  # whoever reads it as labels will say what is wrong
    return isinstance(first, dict) and first.keys() >= _MARKS


def captioned(rows: Sequence[CaptionRow], path: Path) -> Iterator[Sample]:
    """A sample for each caption."""
    for number, row in enumerate(rows, 1):
        file = Path(row.folder or path.parent) / row.film
        clip = Clip(row.clip, file, row.start_s or 0.0, row.end_s)
        turns = (Turn("user", row.prompt), Turn("assistant", row.caption))
        yield Sample(row.clip, (clip,), turns, facts={"type": "caption"}, source=f"{path}:{number}")
