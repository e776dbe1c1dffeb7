"""Label files of every form, and what stages see of them step by step."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from vidapt.training.batch import StageBatch


def rows_of(labels: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()]


def as_form(labels: Path, form: str) -> Path:
    """The same rows in another form beside a file of JSON lines."""
    rows, target = rows_of(labels), labels.with_name(f"again.{form}")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if form == "jsonl.gz":
        target.write_bytes(gzip.compress(text.encode()))
    elif form == "json":
        target.write_text(json.dumps(rows), encoding="utf-8")
    elif form == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), target)
    else:
        target.write_text(text, encoding="utf-8")
    return target


def as_shard(labels: Path, name: str = "shard.tar") -> Path:
    """A shard with a key for every row: `0.mp4` beside `0.json`."""
    target = labels.with_name(name)
    with tarfile.open(target, "w") as tar:
        for number, row in enumerate(rows_of(labels)):
            clip = (labels.parent / row.pop("video")).read_bytes()
            for suffix, content in ((".mp4", clip), (".json", json.dumps(row).encode())):
                member = tarfile.TarInfo(f"{number:03d}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return target


class Seen:
    """What batches showed, in order."""

    def __init__(self, monkeypatch: Any) -> None:
        self.steps: list[list[tuple[Any, ...]]] = []
        begin = StageBatch.__init__

        def told(batch: StageBatch, *args: Any, **named: Any) -> None:
            clips, visits = args[3], args[4]
            self.steps.append(
                [
                    (
                        tuple(str(clip.path) for clip in clips[one.clip].media),
                        tuple(clips[one.clip].samples[at].id for at in one.samples),
                        tuple(clips[one.clip].encoded[at].ids for at in one.samples),
                        one.blind,
                    )
                    for one in visits
                ]
            )
            begin(batch, *args, **named)

        monkeypatch.setattr(StageBatch, "__init__", told)
