"""Data sets of the conveyor: what they say about themselves, and the truth about their clips in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vidapt.worlds.conveyor.clips import Played, play
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.line import BELTS, COLOURS, DEFECTS, FPS, FRAMES, KINDS, SIZES, SOUND
from vidapt.worlds.conveyor.venues import find_venue
from vidapt.worlds.dataset import About, check_numbers, read_records, write_dataset

VERSION = 1
"""Grows whenever the same seed would give other pixels or labels."""


def simulate(
    out: Path,
    *,
    clips: int,
    venue: str = "works",
    seed: int = 0,
    statements: int = 1,
    when: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; if it was begun before, finish or extend it. See `worlds.dataset.write_dataset`.

    Args:
        out: The folder; made if missing.
        clips: How many clips.
        venue: Where they are filmed.
        seed: Data sets of different seeds share no clip; below 2**32.
        statements: Ask about up to this many pairs of a true and a false statement per clip.
        when: Ask when belts stood still, parts fell and the arm worked, too.
        workers: Processes; None means one per core. With 1, everything runs in this process.
        progress: Called with (clips done, clips in all) now and then, from this process.

    Raises:
        ConfigError: If the venue is unknown, a number is out of range, or the folder holds something else
            or cannot be made.
        VidaptError: If the disk is full or may not be written, or a worker was killed. What is finished
            is kept, and the same call goes on from there.
    """
    place = find_venue(venue)
    check_numbers(clips, seed, statements, workers)
    about = {
        "world": "conveyor",
        "version": VERSION,
        "venue": place.name,
        "style": place.style,
        "seed": seed,
        "clips": clips,
        "statements": statements,
        "when": when,
        "frames": FRAMES,
        "fps": FPS,
        "width": place.size[0],
        "height": place.size[1],
        "colours": list(COLOURS),
        "kinds": list(KINDS),
        "belts": list(BELTS),
    }
    write_dataset(out, about, _play, workers=workers, progress=progress)


def load_records(path: Path) -> list[Record]:
    """Read `events.jsonl`.

    Raises:
        FormatError: If the file or one of its lines cannot be read.
    """
    return read_records(path, Record.from_json)


def _play(about: About, indices: Sequence[int]) -> tuple[list[Played], dict[str, np.ndarray]]:
    place = find_venue(about["venue"])
    played = play(about["seed"], indices, place, about["statements"], when=about["when"])
    return played, truth_of(played)


def truth_of(played: Sequence[Played]) -> dict[str, np.ndarray]:
    """The truth about N clips as arrays; a part's slot is its colour's place in `line.COLOURS`.

    Returns:
        - `tracks` [N, FRAMES, SLOTS, 3] float16: in the picture (0 or 1), x and y as shares of the picture.
        - `kind`, `size`, `defect`, `belt` [N, SLOTS] int8: places in `line.KINDS` and so on (of `defect`,
          0 is none); -1 where no part has the colour.
        - `touches` [N, SLOTS, SLOTS] int8: 1 if the first slot's part runs into the second's.
    """
    count, slots = len(played), len(COLOURS)
    looks = {name: np.full((count, slots), -1, np.int8) for name in ("kind", "size", "defect", "belt")}
    touches = np.zeros((count, slots, slots), np.int8)
    for i, clip in enumerate(played):
        slot_of = {part.name: COLOURS.index(part.colour) for part in clip.record.parts}
        for part in clip.record.parts:
            slot = slot_of[part.name]
            looks["kind"][i, slot] = KINDS.index(part.kind)
            looks["size"][i, slot] = list(SIZES).index(part.size)
            looks["defect"][i, slot] = (SOUND, *DEFECTS).index(part.defect)
            looks["belt"][i, slot] = BELTS.index(part.belt)
        for event in clip.record.happened("touch"):
            touches[i, slot_of[event.subject], slot_of[event.other]] = 1
    return {"tracks": np.stack([clip.tracks() for clip in played]), **looks, "touches": touches}
