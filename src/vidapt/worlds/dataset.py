"""Writes the data sets of all worlds: clips, labels, events and tensors of truth in one folder.

Clip i depends on what `dataset.json` says and on i alone, so a data set can be made in any order, by any
number of workers, interrupted and resumed, or made longer later, with the same result.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from safetensors.numpy import save

from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.files import check_folder, disk_errors, write_file
from vidapt.worlds.asked import QA
from vidapt.worlds.encode import encode

About = dict[str, Any]
"""What `dataset.json` says: `world`, `version`, `clips`, `fps` and all that a world's clips depend on."""

CLIPS, LABELS, EVENTS = "clips", "labels.jsonl", "events.jsonl"
TRUTH, ABOUT = "truth.safetensors", "dataset.json"

_CHUNK = 64
_SEEDS = 2**32
"""Seeds below this are one word of a generator's entropy; a longer one could repeat another seed's clips."""

R = TypeVar("R")


class Scene(Protocol):
    """One clip of a world, played but not yet filmed."""

    @property
    def index(self) -> int:
        """Number of the clip within its data set."""

    def film(self) -> np.ndarray:
        """Render the clip: [T, H, W, 3] uint8, H and W even."""

    def asked(self) -> Sequence[QA]:
        """Everything asked about it."""

    def to_json(self) -> dict[str, Any]:
        """What happened, as a line of `events.jsonl`."""


class Play(Protocol):
    """A world's module-level function, so that workers find it by its name."""

    def __call__(self, about: About, indices: Sequence[int]) -> tuple[Sequence[Scene], dict[str, np.ndarray]]:
        """Play some clips and return them with the columns of their truth, one row per clip."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What a worker sends back about its clips."""

    first: int
    labels: list[str]
    events: list[str]
    truth: dict[str, np.ndarray]


def check_numbers(clips: int, seed: int, statements: int, workers: int | None) -> None:
    """Refuse numbers that no data set can have.

    Raises:
        ConfigError: If one is out of range.
    """
    if min(clips, statements, 1 if workers is None else workers) < 1 or not 0 <= seed < _SEEDS:
        found = f"clips={clips}, seed={seed}, statements={statements}, workers={workers}"
        remedy = f"clips, statements and workers must be at least 1, the seed 0 to {_SEEDS - 1}"
        raise ConfigError("simulate", found, remedy)


def write_dataset(
    out: Path,
    about: About,
    play: Play,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; if it was begun before, finish or extend it.

    The folder then holds `clips/000000.mp4` and so on, `labels.jsonl` (vidapt JSONL, one question a line),
    `events.jsonl` (one clip a line), `truth.safetensors` and `dataset.json`.

    Args:
        out: The folder; made if missing.
        about: Describes the data set.
        play: Plays its clips.
        workers: Processes; None means one per core. With 1, everything runs in this process.
        progress: Called with (clips done, clips in all) now and then, from this process.

    Raises:
        ConfigError: If the folder holds something else or cannot be made.
        VidaptError: If the disk is full or may not be written, or a worker was killed. What is finished
            is kept, and the same call goes on from there.
    """
    _claim_folder(out, about)
    _write(out / ABOUT, json.dumps(about, indent=2).encode())
    with disk_errors(out):
        (out / CLIPS).mkdir(exist_ok=True)
    made: list[_Made] = []
    for part in _work(out, about, play, workers or os.cpu_count() or 1):
        made.append(part)
        if progress is not None:
            progress(sum(len(p.events) for p in made), about["clips"])
    _finish(out, sorted(made, key=lambda part: part.first))


def read_records(path: Path, read: Callable[[dict[str, Any]], R]) -> list[R]:
    """Read `events.jsonl`.

    Args:
        path: The file.
        read: Makes a world's record of a line.

    Raises:
        FormatError: If the file or one of its lines cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        remedy = "name the events.jsonl of a data set"
        raise FormatError(path, f"cannot be read: {error.strerror}", remedy) from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(read(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}:{number}", f"not an event record: {error!r}") from error
    return records


def _claim_folder(out: Path, wanted: About) -> None:
    """Refuse a folder that cannot be written, or is neither empty nor the beginning of this data set."""
    check_folder(out)
    if not out.exists():
        return
    # A run that was killed while it wrote its very first file has left nothing but a part of that.
    if all(path.name.startswith(f".{ABOUT}.") for path in out.iterdir()):
        return
    remedy = "name a new or an empty folder"
    try:
        found = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(out, "holds other files", remedy) from None
    except (OSError, ValueError) as error:
        raise ConfigError(out / ABOUT, f"cannot be read: {error}", remedy) from error
    if not isinstance(found, dict) or not isinstance(found.get("clips"), int):
        raise ConfigError(out / ABOUT, "does not describe a data set", remedy)
    found = {"when": False, **found}  # earlier versions did not ask when
    other = [key for key in wanted if key != "clips" and found.get(key) != wanted[key]]
    if other:
        remedy = "name a new folder, or ask for the same data set"
        raise ConfigError(out, f"holds a data set that differs in: {', '.join(other)}", remedy)
    if found["clips"] > wanted["clips"]:
        more = f"was begun with {found['clips']} clips, more than {wanted['clips']}"
        raise ConfigError(out, more, "ask for as many or more, or name a new folder")


def _work(out: Path, about: About, play: Play, workers: int) -> Iterator[_Made]:
    """Make all chunks, in any order.

    Raises:
        VidaptError: If a worker was killed.
    """
    clips = about["clips"]
    chunk = max(1, min(_CHUNK, -(-clips // workers)))
    starts = range(0, clips, chunk)
    jobs = [(out, about, play, start, min(start + chunk, clips)) for start in starts]
    if workers == 1 or len(jobs) == 1:
        yield from (_make(*job) for job in jobs)
        return
    context = get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_follow_parent)
    try:
        waiting: set[Future[_Made]] = {pool.submit(_make, *job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenExecutor as error:
        remedy = "run it again, with fewer workers if memory was short; finished clips are kept"
        raise VidaptError(out, "a worker process ended before its clips were done", remedy) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Make a worker leave Ctrl-C to its parent, and end at once if the parent is killed.

    A worker would otherwise go on writing into a folder in which a resumed run already writes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(out: Path, about: About, play: Play, first: int, end: int) -> _Made:
    """Make the clips `first` to `end` - 1; a clip whose file is there is not filmed again."""
    scenes, truth = play(about, range(first, end))
    labels = []
    for scene in scenes:
        path = out / CLIPS / f"{scene.index:06d}.mp4"
        if not path.exists():
            _write(path, encode(scene.film(), about["fps"]))
        labels += _label_lines(scene)
    return _Made(first, labels, [json.dumps(scene.to_json()) for scene in scenes], truth)


def _label_lines(scene: Scene) -> list[str]:
    name = f"{scene.index:06d}"
    counts: dict[str, int] = {}
    lines = []
    for qa in scene.asked():
        number = counts[qa.type] = counts.get(qa.type, -1) + 1
        row = {
            "id": f"{name}/{qa.type}/{number}",
            "video": f"{CLIPS}/{name}.mp4",
            "question": qa.question,
            "answer": qa.answer,
            "facts": qa.facts(),
        }
        lines.append(json.dumps(row))
    return lines


def _finish(out: Path, made: Sequence[_Made]) -> None:
    truth = {key: np.concatenate([part.truth[key] for part in made]) for key in made[0].truth}
    _write(out / TRUTH, save(truth))
    for name, lines in (
        (EVENTS, [line for part in made for line in part.events]),
        (LABELS, [line for part in made for line in part.labels]),
    ):
        _write(out / name, "".join(f"{line}\n" for line in lines).encode())
    for folder, names in ((out, (TRUTH, EVENTS, LABELS, ABOUT)), (out / CLIPS, ("[0-9]*.mp4",))):
        for name in names:
            for left_by_a_killed_run in folder.glob(f".{name}.*"):
                left_by_a_killed_run.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    write_file(path, lambda part: part.write_bytes(data))
