"""Captioning a store, as one of any number of processes that do."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidapt.captioning.chunks import Cutting
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.engines.protocol import CaptionEngine
from vidapt.captioning.places import Place, as_place, folder_of
from vidapt.captioning.store.asked import Asked
from vidapt.captioning.store.copies import mark_copies
from vidapt.captioning.store.inputs import Listing
from vidapt.captioning.store.jobs import StoredJob
from vidapt.captioning.store.kept import Kept
from vidapt.captioning.store.opening import open_job
from vidapt.captioning.store.outputs import check_outputs, join
from vidapt.captioning.store.remote import store_at
from vidapt.captioning.store.shape import Schema
from vidapt.captioning.store.stores import Store
from vidapt.captioning.store.summary import StoreSummary
from vidapt.captioning.store.worker import Worker
from vidapt.errors import ConfigError
from vidapt.inference.diversity import PLAIN, Diversity
from vidapt.inference.engine import CAPTION_PROMPT
from vidapt.inference.several import Several
from vidapt.models.decoding import Decoding
from vidapt.progress import Reporter, silent

SHARD = 512
"""Inputs of a shard: what one process takes at a time, and what one file of rows holds."""


def caption_store(
    engine: CaptionEngine[Any],
    sources: Place | Sequence[Place],
    out: Place,
    *,
    prompts: Sequence[str] = (CAPTION_PROMPT,),
    decoding: Decoding | None = None,
    n: int = 1,
    diversity: str | Path | Diversity | None = None,
    schema: Schema | None = None,
    part: tuple[int, int] = (1, 1),
    others: bool = False,
    again: bool = False,
    overwrite: bool = False,
    outputs: Sequence[Place] = (),
    dedup: bool = False,
    albums: bool = False,
    fps: float | None = None,
    chunk: float | str | None = None,
    overlap: float = 0.0,
    workers: int | None = None,
    batch: int | None = None,
    shard: int = SHARD,
    price: float | None = None,
    report: Reporter = silent,
) -> StoreSummary:
    """Caption clips into a folder: one row for each, in Parquet files of a shard each, and in the end in one.

    Where a file is given in the place of a folder, the folder lies hidden beside it, and the file has the
    rows of what is captioned; `FILE.quarantine.jsonl` says why the other clips are not.

    Any number of processes, on any machines that see the folder, may do this at once: a shard belongs to one
    of them, and what a killed one leaves is taken over by the next that comes. A job goes on with the clips
    that it listed when it began. Once it is finished, the next one lists anew, takes over the rows of what
    has not changed, and tries what failed again. Rows of other questions stay, too, and are used again.

    Args:
        engine: Who writes captions.
        sources: Folders, clips, lists (`path`, `start_s`, `end_s`), label files, tar files, or patterns;
            addresses of objects as well.
        out: The folder, or the address of one in an object store; or a file, `.jsonl` or `.parquet`.
        prompts: What the model is asked about each clip; all behind one copy of what it sees.
        decoding: How tokens are chosen; None is greedy.
        n: Captions of each clip, in its one row; of its decoding then only `max_new_tokens` counts.
        diversity: How these come to differ, as `inference.diversity` has it.
        schema: What answers are to be, if they are to be JSON.
        part: `(i, n)`: work on every n-th shard from the i-th on, counted from 1.
        others: Work on the shards of the other parts after that, as far as nobody holds them.
        again: Begin anew where the job is finished, also for a part: list, and try again what failed.
        overwrite: Replace whatever a file as `out` holds.
        outputs: Files that all rows are joined into beside `out`; see `outputs.join`.
        dedup: Clips that show the same as another one are not captioned; their rows say of which.
        albums: A folder with pictures and no video is one clip.
        fps: Pictures per second of such folders.
        chunk: Cut films into stretches of so many seconds, or where `shots` cut them.
        overlap: Seconds for which a stretch goes on into the next one.
        workers: Decoding processes; None is one per core.
        batch: Clips answered at a time in a new job; None decides by what there is memory for.
        shard: Clips of a shard in a new job.
        price: What an hour of this process costs, for the column `cost`; None where nobody knows.
        report: Told how far the work is.

    Raises:
        ConfigError: If there is no clip, or an option cannot be.
        FormatError: If a list, a label file or a tar file cannot be read.
        VidaptError: If the disk is full; finished rows are kept.
    """
    started = time.monotonic()
    given = [as_place(one) for one in ([sources] if isinstance(sources, Path | str) else sources)]
    check_part(part)
    store = store_at(as_place(out), overwrite=overwrite)
    store.check()
    outputs = [as_place(one) for one in outputs]
    check_outputs(store, outputs)
    several, chosen = None, decoding or Decoding()
    if n != 1 or diversity is not None:
        way = diversity or PLAIN
        several = _several(engine, prompts[0], n, way, chosen.max_new_tokens, cores(workers), report)
    asked = Asked.of(
        engine,
        prompts,
        chosen,
        Cutting.of(chunk, overlap),
        schema,
        folder_of(given[0] if len(given) == 1 else given),
        several,
    )
    job = open_job(
        store,
        asked.settings,
        Listing(given, albums, fps, dedup),
        shard,
        batch or asked.batch,
        asked.told,
        alone=again or part == (1, 1),
        mark=(lambda path: mark_copies(path, cores(workers), report)) if dedup else None,
        report=report,
    )
    work = Worker(asked, job, _kept(store, job), part, others, cores(workers), report, price)
    if job.done is None:
        work.carry_out()
    made = join(store, job, outputs, report)
    summary = StoreSummary.of(store, job, work.pace, made, time.monotonic() - started)
    if not summary.left:
        job.forget()
    return summary


def cores(workers: int | None) -> int:
    """Decoding processes: as many as are asked for, or one per core."""
    return (os.cpu_count() or 1) if workers is None else workers


def _several(
    engine: CaptionEngine[Any],
    prompt: str,
    n: int,
    way: str | Path | Diversity,
    longest: int,
    workers: int,
    report: Reporter,
) -> Several:
    if not isinstance(engine, Builtin):
        raise ConfigError("--n", "a server is asked for one answer", "leave it out, or ask several questions")
    return Several.of(engine.engine, prompt, n, way, longest, workers=workers, report=report)


def check_part(part: tuple[int, int]) -> None:
    """Refuse a part of the work that there is none of.

    Raises:
        ConfigError: If it is not one of 1 to n.
    """
    if not 1 <= part[0] <= part[1]:
        raise ConfigError("--shard", f"is {part[0]}/{part[1]}", "give 1/4, 2/4, ... for four processes")


def _kept(store: Store, job: StoredJob) -> Kept:
    others = [other for other in store.jobs() if other.name != job.name]
    return Kept(path for other in others for path in other.parts)
