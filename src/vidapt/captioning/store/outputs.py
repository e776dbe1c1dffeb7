"""All rows of a finished job in one file, in the form that its suffix says."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidapt.captioning.objects import Objects
from vidapt.captioning.places import Place, absolute, is_address, suffix_of
from vidapt.captioning.rows import write_lines
from vidapt.captioning.store.jobs import PARQUET, StoredJob
from vidapt.captioning.store.opening import remove_earlier
from vidapt.captioning.store.rows import DONE, FAILED, ROWS, SKIPPED, part_rows
from vidapt.captioning.store.single import FileStore
from vidapt.captioning.store.stores import Store
from vidapt.errors import ConfigError
from vidapt.files import check_file, check_folder, write_file, write_folder
from vidapt.locks import TakenError
from vidapt.progress import Reporter
from vidapt.video.suffixes import PICTURE_SUFFIXES

_LANCE = ".lance"

_TOGETHER = 32
"""Parts that make a row group: what a file's end says of each group is held until then."""


def check_outputs(store: Store, outputs: Sequence[Place]) -> None:
    """Refuse files that could not be written at the end of a job.

    Raises:
        ConfigError: If a suffix is unknown, or what it needs is not installed.
        VidaptError: If nothing can be written there.
    """
    for place in outputs:
        suffix = suffix_of(place)
        if suffix not in _WRITERS:
            raise ConfigError(
                place, f"cannot write {suffix or 'a file without suffix'}", f"use {', '.join(_WRITERS)}"
            )
        if suffix == _LANCE and importlib.util.find_spec("lance") is None:
            raise ConfigError(place, "Lance is not installed", "pip install 'vidapt[lance]'")
        if isinstance(place, Path):
            (check_folder if suffix == _LANCE else check_file)(place)
        elif suffix == _LANCE:
            raise ConfigError(place, "a Lance data set is a folder", "give a path, and copy it then")
        if absolute(place) == absolute(store.result):
            raise ConfigError(place, "is written in any case", "leave it out")


def join(store: Store, job: StoredJob, outputs: Sequence[Place], report: Reporter) -> dict[Place, int]:
    """Write a job's files once its last shard is in place.

    `.parquet`, `.jsonl` and `.lance` (a folder) have a row for every input. `.json` (LLaVA's conversations)
    and `.tar` (WebDataset: the clip's file beside its row) have those that are captioned and whole files, the
    latter of files on this machine.

    Args:
        store: The store.
        job: The job.
        outputs: Files beside that of the store itself.
        report: Told how far it is.

    Returns:
        The files that are written, each with how many captioned clips it cannot hold; nothing while shards
        are missing, or if another process is at it.
    """
    if len(job.finished) < len(job.index.sizes):
        return {}
    wanted = [store.result, *outputs]
    made: dict[Place, int] = {}
    try:
        with job.joining():
            before = (job.done or {}).get("outputs", [])
            missing = [one for one in wanted if absolute(one) not in before or not _there(one)]
            parts = job.parts if missing else []
            for at, place in enumerate(missing):
                report("write", at, len(missing))
                if isinstance(store, FileStore) and place == store.result:
                    _captions(store, job, parts)
                    made[place] = 0
                else:
                    made[place] = _write(place, parts)
            report("write", len(missing), len(missing))
            if made:
                job.end({"outputs": sorted({*before, *map(absolute, made)})})
                remove_earlier(store, job)
    except TakenError:
        return {}
    return made


def _there(place: Place) -> bool:
    return place.exists() if isinstance(place, Path) else _beside(place)[0].exists(_beside(place)[1])


def _write(place: Place, parts: Sequence[Path]) -> int:
    """Write a file; one that goes into an object store is written here first."""
    write = _WRITERS[suffix_of(place)]
    if isinstance(place, Path):
        return write(place, parts)
    objects, name = _beside(place)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        left_out = write(file, parts)
        objects.upload(name, file)
    return left_out


def _beside(url: str) -> tuple[Objects, str]:
    """The folder of an object, and its name there."""
    folder, _, name = url.rpartition("/")
    return Objects(folder), name


def _captions(store: FileStore, job: StoredJob, parts: Sequence[Path]) -> None:
    """Write a file of what is captioned, and beside it one of what is not, if there is such."""
    with store.placing(job.plan.request):
        if job.counts[FAILED] or job.counts[SKIPPED]:
            write_lines(store.quarantine, (_lost(row) for row in _rows(parts) if row["status"] != DONE))
        else:
            store.quarantine.unlink(missing_ok=True)
        if store.file.suffix == PARQUET:
            _parquet(store.file, parts, DONE)
        else:
            write_lines(store.file, (row for row in _rows(parts) if row["status"] == DONE))


def _lost(row: Mapping[str, Any]) -> dict[str, Any]:
    """Why a clip has no caption."""
    if row["copy_of"] is None:
        return {"clip": row["clip"], "reason": row["reason"], "error": row["error"]}
    return {"clip": row["clip"], "reason": f"it shows the same as {row['copy_of']}", "error": None}


def _parquet(path: Path, parts: Sequence[Path], status: str | None = None) -> int:
    """Write all rows, or those of one status."""

    def wanted(part: Path) -> pa.Table:
        table = _table(part)
        return table if status is None else table.filter(pc.equal(table["status"], status))

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, ROWS) as writer:
            for start in range(0, len(parts), _TOGETHER):
                writer.write_table(pa.concat_tables(map(wanted, parts[start : start + _TOGETHER])))

    write_file(path, write)
    return 0


def _jsonl(path: Path, parts: Sequence[Path]) -> int:
    write_lines(path, _rows(parts))
    return 0


def _llava(path: Path, parts: Sequence[Path]) -> int:
    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.write("[")
            for at, row in enumerate(filter(_is_whole, _rows(parts))):
                file.write(",\n" if at else "\n")
                json.dump(_conversation(row), file, ensure_ascii=False)
            file.write("\n]\n")

    write_file(path, write)
    return _left_out(parts, _is_whole)


def _webdataset(path: Path, parts: Sequence[Path]) -> int:
    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w") as tar:
            for at, row in enumerate(filter(_is_here, _rows(parts))):
                told = json.dumps(row, ensure_ascii=False).encode()
                _add(tar, f"{at:08d}.json", len(told), io.BytesIO(told))
                with Path(row["file"]).open("rb") as file:
                    file.seek(row["offset"] or 0)
                    size = os.fstat(file.fileno()).st_size if row["size"] is None else row["size"]
                    _add(tar, f"{at:08d}{Path(row['clip']).suffix.lower()}", size, file)

    write_file(path, write)
    return _left_out(parts, _is_here)


def _lance(path: Path, parts: Sequence[Path]) -> int:
    import lance

    reader = pa.RecordBatchReader.from_batches(ROWS, _batches(parts))
    with write_folder(path) as new:
        lance.write_dataset(reader, str(new), mode="overwrite")
    return 0


_WRITERS: Mapping[str, Callable[[Path, Sequence[Path]], int]] = {
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".json": _llava,
    ".tar": _webdataset,
    _LANCE: _lance,
}


def _rows(parts: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from part_rows(part)


def _batches(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from _table(part).to_batches()


def _table(part: Path) -> pa.Table:
    """The rows of a part; columns that it was written without are empty."""
    table = pq.read_table(part).replace_schema_metadata(None)
    return pa.concat_tables([ROWS.empty_table(), table], promote_options="default")


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Whether it is captioned, and about the whole of a file that can be read again, or of an object."""
    stretch = row["start_s"] is not None or row["end_s"] is not None
    there = is_address(row["file"]) or Path(row["file"]).is_file()
    return row["status"] == DONE and not stretch and there


def _is_here(row: Mapping[str, Any]) -> bool:
    """Whether its file is on this machine as well."""
    return _is_whole(row) and not is_address(row["file"])


def _left_out(parts: Sequence[Path], fits: Callable[[Mapping[str, Any]], bool]) -> int:
    return sum(row["status"] == DONE and not fits(row) for row in _rows(parts))


def _conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as LLaVA's labels have it: all questions about the clip in one conversation."""
    kind = "image" if Path(row["clip"]).suffix.lower() in PICTURE_SUFFIXES else "video"
    turns = []
    for prompt, caption in zip(row["prompts"], row["captions"], strict=True):
        turns += [{"from": "human", "value": prompt}, {"from": "gpt", "value": caption}]
    turns[0]["value"] = f"<{kind}>\n{turns[0]['value']}"
    file = row["file"] if row["offset"] is None else row["clip"]
    return {"id": row["clip"], kind: file, "conversations": turns}


def _add(tar: tarfile.TarFile, name: str, size: int, content: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, content)
