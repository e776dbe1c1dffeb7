"""Data sets of billiards: what they say about themselves, and the truth about their clips in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.worlds.asked import QA
from vidapt.worlds.billiards.clips import Played, play
from vidapt.worlds.billiards.events import Record
from vidapt.worlds.billiards.table import FPS, FRAMES, POCKETS, SIDES, SLOTS
from vidapt.worlds.billiards.venues import Venue, find_venue
from vidapt.worlds.dataset import About, check_numbers, read_records, write_dataset

VERSION = 1
"""Grows whenever the same seed would give other pixels or labels."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A shot where it is played, and what is asked about it."""

    played: Played
    venue: Venue
    statements: int
    when: bool

    @property
    def index(self) -> int:
        return self.played.record.index

    def film(self) -> np.ndarray:
        return self.played.film(self.venue)

    def asked(self) -> list[QA]:
        return self.played.questions(self.venue, self.statements, when=self.when)

    def to_json(self) -> dict[str, Any]:
        return self.played.record.to_json()


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
    """Write a data set; if it was begun before, finish or extend it. See `worlds.dataset.write_dataset`.

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
    check_numbers(clips, seed, statements, workers)
    about = _describe(place, seed, clips, statements, when=when)
    write_dataset(out, about, _play, workers=workers, progress=progress)


def load_records(path: Path) -> list[Record]:
    """Read `events.jsonl`.

    Raises:
        FormatError: If the file or one of its lines cannot be read.
    """
    return read_records(path, Record.from_json)


def _play(about: About, indices: Sequence[int]) -> tuple[list[_Scene], dict[str, np.ndarray]]:
    place = find_venue(about["venue"])
    played = play(about["seed"], indices, place)
    scenes = [_Scene(shot, place, about["statements"], about["when"]) for shot in played]
    return scenes, truth_of(played, place)


def _describe(venue: Venue, seed: int, clips: int, statements: int, *, when: bool) -> About:
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
