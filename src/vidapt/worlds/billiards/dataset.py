"""Writes data sets: clips, labels, events and tensors of truth in one folder.

Clip i depends on (seed, i, venue) alone, so a data set can be made in any order, by any number of workers,
interrupted and resumed, or made longer later, with the same result.
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
from typing import Any

import numpy as np
from safetensors.numpy import save

from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.files import check_folder, disk_errors, write_file
from vidapt.worlds.billiards.clips import Played, play
from vidapt.worlds.billiards.encode import encode
from vidapt.worlds.billiards.events import Record
from vidapt.worlds.billiards.questions import QA
from vidapt.worlds.billiards.table import FPS, FRAMES, POCKETS, SIDES, SLOTS
from vidapt.worlds.billiards.venues import Venue, find_venue

VERSION = 1
"""Grows whenever the same seed would give other pixels or labels."""

_CHUNK = 64
_SEEDS = 2**32
"""Seeds below this are one word of a generator's entropy; a longer one could repeat another seed's clips."""
_CLIPS, _LABELS, _EVENTS = "clips", "labels.jsonl", "events.jsonl"
_TRUTH, _ABOUT = "truth.safetensors", "dataset.json"


@dataclass(frozen=True, slots=True)
class _Made:
    """What a worker sends back about its clips."""

    first: int
    labels: list[str]
    events: list[str]
    truth: dict[str, np.ndarray]


def simulate(
    out: Path,
    *,
    clips: int,
    venue: str = "home",
    seed: int = 0,
    statements: int = 1,
    when: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; if it was begun before, finish or extend it.

    The folder then holds `clips/000000.mp4` and so on, `labels.jsonl` (vidapt JSONL, one question a line),
    `events.jsonl` (one clip a line), `truth.safetensors` (see `truth_of`) and `dataset.json`.

    Args:
        out: The folder; made if missing.
        clips: How many clips.
        venue: Where they are filmed.
        seed: Data sets of different seeds share no clip; below 2**32.
        statements: Ask about up to this many pairs of a true and a false statement per clip.
        when: Ask when each pocketed ball fell, too.
        workers: Processes; None means one per core. With 1, everything runs in this process.
        progress: Called with (clips done, clips in all) now and then, from this process.

    Raises:
        ConfigError: If the venue is unknown, a number is out of range, or the folder holds something else
            or cannot be made.
        VidaptError: If the disk is full or may not be written, or a worker was killed. What is finished
            is kept, and the same call goes on from there.
    """
    place = find_venue(venue)
    if min(clips, statements, 1 if workers is None else workers) < 1 or not 0 <= seed < _SEEDS:
        found = f"clips={clips}, seed={seed}, statements={statements}, workers={workers}"
        remedy = f"clips, statements and workers must be at least 1, the seed 0 to {_SEEDS - 1}"
        raise ConfigError("simulate", found, remedy)
    about = _describe(place, seed, clips, statements, when=when)
    _claim_folder(out, about)
    _write(out / _ABOUT, json.dumps(about, indent=2).encode())
    with disk_errors(out):
        (out / _CLIPS).mkdir(exist_ok=True)
    made: list[_Made] = []
    for part in _work(out, about, workers or os.cpu_count() or 1):
        made.append(part)
        if progress is not None:
            progress(sum(len(p.events) for p in made), clips)
    _finish(out, sorted(made, key=lambda part: part.first))


def load_records(path: Path) -> list[Record]:
    """Read `events.jsonl`.

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
            records.append(Record.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}:{number}", f"not an event record: {error!r}") from error
    return records


def _describe(venue: Venue, seed: int, clips: int, statements: int, *, when: bool) -> dict[str, Any]:
    return {
        "world": "billiards",
        "version": VERSION,
        "venue": venue.name,
        "style": venue.style,
        "seed": seed,
        "clips": clips,
        "statements": statements,
        "when": when,
        "frames": FRAMES,
        "fps": FPS,
        "width": venue.size[0],
        "height": venue.size[1],
        "balls": ["white", *venue.ball_set],
        "pockets": list(POCKETS),
        "sides": list(SIDES),
        "shirts": [name for name, _ in venue.shirts],
    }


def _claim_folder(out: Path, wanted: dict[str, Any]) -> None:
    """Refuse a folder that cannot be written, or is neither empty nor the beginning of this data set."""
    check_folder(out)
    if not out.exists():
        return
    # A run that was killed while it wrote its very first file has left nothing but a part of that.
    if all(path.name.startswith(f".{_ABOUT}.") for path in out.iterdir()):
        return
    remedy = "name a new or an empty folder"
    try:
        found = json.loads((out / _ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(out, "holds other files", remedy) from None
    except (OSError, ValueError) as error:
        raise ConfigError(out / _ABOUT, f"cannot be read: {error}", remedy) from error
    if not isinstance(found, dict) or not isinstance(found.get("clips"), int):
        raise ConfigError(out / _ABOUT, "does not describe a data set", remedy)
    found = {"when": False, **found}  # earlier versions did not ask when
    other = [key for key in wanted if key != "clips" and found.get(key) != wanted[key]]
    if other:
        remedy = "name a new folder, or ask for the same data set"
        raise ConfigError(out, f"holds a data set that differs in: {', '.join(other)}", remedy)
    if found["clips"] > wanted["clips"]:
        more = f"was begun with {found['clips']} clips, more than {wanted['clips']}"
        raise ConfigError(out, more, "ask for as many or more, or name a new folder")


def _work(out: Path, about: dict[str, Any], workers: int) -> Iterator[_Made]:
    """Make all chunks, in any order.

    Raises:
        VidaptError: If a worker was killed.
    """
    clips = about["clips"]
    chunk = max(1, min(_CHUNK, -(-clips // workers)))
    starts = range(0, clips, chunk)
    jobs = [(out, about, start, min(start + chunk, clips)) for start in starts]
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


def _make(out: Path, about: dict[str, Any], first: int, end: int) -> _Made:
    """Make the clips `first` to `end` - 1; a clip whose file is there is not filmed again."""
    place = find_venue(about["venue"])
    played = play(about["seed"], range(first, end), place)
    labels = []
    for shot in played:
        path = out / _CLIPS / f"{shot.record.index:06d}.mp4"
        if not path.exists():
            _write(path, encode(shot.film(place)))
        labels += _label_lines(shot, shot.questions(place, about["statements"], when=about["when"]))
    events = [json.dumps(shot.record.to_json()) for shot in played]
    return _Made(first, labels, events, truth_of(played, place))


def _label_lines(shot: Played, asked: Sequence[QA]) -> list[str]:
    name = f"{shot.record.index:06d}"
    counts: dict[str, int] = {}
    lines = []
    for qa in asked:
        number = counts[qa.type] = counts.get(qa.type, -1) + 1
        row = {
            "id": f"{name}/{qa.type}/{number}",
            "video": f"{_CLIPS}/{name}.mp4",
            "question": qa.question,
            "answer": qa.answer,
            "facts": qa.facts(),
        }
        lines.append(json.dumps(row))
    return lines


def truth_of(played: Sequence[Played], venue: Venue) -> dict[str, np.ndarray]:
    """The truth about N clips as arrays; slot 0 is the white ball, then the venue's ball set.

    Returns:
        - `tracks` [N, FRAMES, SLOTS, 3] float16: on the table (0 or 1), x and y as shares of the picture.
        - `pocket` [N, SLOTS] int8: -1 not on the table at the start, 0 stays, 1 to 6 a pocket.
        - `first_hit` [N] int8: slot of the ball the white ball hits first, 0 for none.
        - `player` [N, 2] float16: where the player stands, x and y as shares of the picture.
        - `shirt` [N] int8: place in the venue's list of shirts.
        - `broken`, `cushion_first` [N] int8: 0 or 1.
        - `hits` [N, SLOTS, SLOTS] uint8: 1 if the first slot's ball hits the second's.
        - `cushions` [N, SLOTS, 4] uint8: 1 if the ball touches that side.
    """
    names = ["white", *venue.ball_set]
    shirts = [name for name, _ in venue.shirts]
    count = len(played)
    truth = {
        "tracks": np.stack([shot.tracks(venue) for shot in played]),
        "pocket": np.stack([np.where(shot.shot.on_table, 0, -1) for shot in played]).astype(np.int8),
        "first_hit": np.zeros(count, np.int8),
        "player": np.stack([shot.player(venue) for shot in played]),
        "shirt": np.array([shirts.index(shot.record.shirt) for shot in played], np.int8),
        "broken": np.array([shot.record.broken for shot in played], np.int8),
        "cushion_first": np.array([shot.record.cushion_first for shot in played], np.int8),
        "hits": np.zeros((count, SLOTS, SLOTS), np.uint8),
        "cushions": np.zeros((count, SLOTS, len(SIDES)), np.uint8),
    }
    for i, shot in enumerate(played):
        if shot.record.first_hit is not None:
            truth["first_hit"][i] = names.index(shot.record.first_hit)
        for event in shot.record.events:
            slot = names.index(event.ball)
            if event.kind == "hit":
                truth["hits"][i, slot, names.index(event.other)] = 1
            elif event.kind == "cushion":
                truth["cushions"][i, slot, SIDES.index(event.other)] = 1
            else:
                truth["pocket"][i, slot] = 1 + POCKETS.index(event.other)
    return truth


def _finish(out: Path, made: Sequence[_Made]) -> None:
    truth = {key: np.concatenate([part.truth[key] for part in made]) for key in made[0].truth}
    _write(out / _TRUTH, save(truth))
    for name, lines in (
        (_EVENTS, [line for part in made for line in part.events]),
        (_LABELS, [line for part in made for line in part.labels]),
    ):
        _write(out / name, "".join(f"{line}\n" for line in lines).encode())
    for folder, names in ((out, (_TRUTH, _EVENTS, _LABELS, _ABOUT)), (out / _CLIPS, ("[0-9]*.mp4",))):
        for name in names:
            for left_by_a_killed_run in folder.glob(f".{name}.*"):
                left_by_a_killed_run.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    write_file(path, lambda part: part.write_bytes(data))
