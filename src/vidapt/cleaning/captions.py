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
    """A sample for each caption: checks look at every one of several."""
    for number, row in enumerate(rows, 1):
        clip = Clip(row.clip, row.footage(path.parent), row.start_s or 0.0, row.end_s)
        for name, (question, text) in said(row).items():
            turns = (Turn("user", question), Turn("assistant", text))
            yield Sample(name, (clip,), turns, facts={"type": "caption"}, source=f"{path}:{number}")


def said(row: CaptionRow) -> dict[str, tuple[str, str]]:
    """Questions and captions of a clip, each pair once, by the ids of their samples."""
    pairs = zip(row.prompts or (row.prompt,), row.captions or (row.caption,), strict=True)
    return {f"{row.clip}#{at}" if at else row.clip: pair for at, pair in enumerate(dict.fromkeys(pairs))}
