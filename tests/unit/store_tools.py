"""Clips of a few bytes, a store of their captions by a stub, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from _stub_engine import StubEngine
from vidapt.captioning.places import Place
from vidapt.captioning.store.summary import StoreSummary
from vidapt.captioning.store.work import caption_store

SHARD, BATCH = 4, 3
CLIPS = 10


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def run(source: Place | list[Place], out: Place, engine: Any = None, **options: Any) -> StoreSummary:
    given = {"shard": SHARD, "batch": BATCH, "workers": 0} | options
    return caption_store(engine or StubEngine(), source, out, **given)


def rows_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "captions.parquet").to_pylist()
    return found


def counts(done: StoreSummary) -> tuple[int, int, int, int]:
    return done.captioned, done.kept, done.failed, done.left


def write_clips(folder: Path) -> Path:
    """Clips that differ, half of them in a folder inside, and a file that is none."""
    for number in range(CLIPS):
        write(folder / ("inside" if number % 2 else "") / f"{number}.mp4", f"clip {number}".encode())
    write(folder / "notes.md", b"none")
    return folder
