"""Data sets of shapes: what they say about themselves, and the truth about their clips in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vidapt.worlds.dataset import About, check_numbers, read_records, write_dataset
from vidapt.worlds.shapes.clips import Played, play
from vidapt.worlds.shapes.events import Record
from vidapt.worlds.shapes.field import COLOURS, FPS, FRAMES, KINDS, SIDES, SIZES, TEXTURES
from vidapt.worlds.shapes.venues import find_venue

VERSION = 2
"""Grows whenever the same seed would give other pixels or labels."""

FATES = ("absent", "stays", "moves", "circles", "turns", "appears", "vanishes", "leaves", "enters")
"""What becomes of a thing, as a state to learn from; the last that fits holds."""


def simulate(
    out: Path,
    *,
    clips: int,
    venue: str = "mix",
    seed: int = 0,
    statements: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; if it was begun before, finish or extend it. See `worlds.dataset.write_dataset`.

    Args:
        out: The folder; made if missing.
        clips: How many clips.
        venue: Which kind of footage.
        seed: Data sets of different seeds share no clip; below 2**32.
        statements: Ask about up to this many pairs of a true and a false statement per clip.
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
        "world": "shapes",
        "version": VERSION,
        "venue": place.name,
        "style": place.style,
        "seed": seed,
        "clips": clips,
        "statements": statements,
        "frames": FRAMES,
        "fps": FPS,
        "width": place.size[0],
        "height": place.size[1],
        "colours": list(COLOURS),
        "kinds": list(KINDS),
        "textures": list(TEXTURES),
        "fates": list(FATES),
        "sides": list(SIDES),
    }
    write_dataset(out, about, _play, workers=workers, progress=progress)


def load_records(path: Path) -> list[Record]:
    """Read `events.jsonl`.

    Raises:
        FormatError: If the file or one of its lines cannot be read.
    """
    return read_records(path, Record.from_json)


def _play(about: About, indices: Sequence[int]) -> tuple[list[Played], dict[str, np.ndarray]]:
    played = play(about["seed"], indices, find_venue(about["venue"]), about["statements"])
    return played, truth_of(played)


def truth_of(played: Sequence[Played]) -> dict[str, np.ndarray]:
    """The truth about N clips as arrays; a thing's slot is its colour's place in `field.COLOURS`.

    Returns:
        - `tracks` [N, FRAMES, SLOTS, 3] float16: in the picture (0 or 1), x and y as shares of the picture.
        - `kind`, `size`, `texture` [N, SLOTS] int8: places in `field.KINDS` and so on; -1 where no thing has
          the colour.
        - `fate` [N, SLOTS] int8: place in `FATES` less one, so that -1 is absent.
        - `touches` [N, SLOTS, SLOTS] int8: 1 if the two touch.
        - `first` [N, SLOTS, 1] int8: 1 for the thing that moves first.
        - `bounces` [N, SLOTS, 4] int8: 1 if it comes back from that edge.
    """
    count, slots = len(played), len(COLOURS)
    looks = {name: np.full((count, slots), -1, np.int8) for name in ("kind", "size", "texture", "fate")}
    touches = np.zeros((count, slots, slots), np.int8)
    first, bounces = np.zeros((count, slots, 1), np.int8), np.zeros((count, slots, len(SIDES)), np.int8)
    for i, clip in enumerate(played):
        record = clip.record
        slot_of = {thing.name: COLOURS.index(thing.colour) for thing in record.things}
        for thing in record.things:
            slot = slot_of[thing.name]
            looks["kind"][i, slot] = KINDS.index(thing.kind)
            looks["size"][i, slot] = list(SIZES).index(thing.size)
            looks["texture"][i, slot] = TEXTURES.index(thing.texture)
            looks["fate"][i, slot] = FATES.index(fate(thing.name, record)) - 1
        for event in record.events:
            if event.kind == "touch":
                a, b = slot_of[event.thing], slot_of[event.other]
                touches[i, a, b] = touches[i, b, a] = 1
            elif event.kind == "bounce":
                bounces[i, slot_of[event.thing], SIDES.index(event.other)] = 1
        if record.first_mover:
            first[i, slot_of[record.first_mover], 0] = 1
    tracks = np.stack([clip.tracks() for clip in played])
    return {"tracks": tracks, **looks, "touches": touches, "first": first, "bounces": bounces}


def fate(name: str, record: Record) -> str:
    """What becomes of a thing: one of `FATES`."""
    (way,) = (thing.way for thing in record.things if thing.name == name)
    found = {"circle": "circles", "turn": "turns"}.get(way, "moves" if name in record.moved else "stays")
    names = {"appear": "appears", "vanish": "vanishes", "leave": "leaves", "enter": "enters"}
    told = [names[event.kind] for event in record.events if event.thing == name and event.kind in names]
    return told[-1] if told else found
