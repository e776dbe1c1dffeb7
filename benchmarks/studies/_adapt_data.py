"""Data of the study of adaptation: simulated clips, and labels made from their logs and from each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vidapt.files import write_file, write_text
from vidapt.nouns import Clip
from vidapt.video import Uniform, decode
from vidapt.worlds.asked import normalise
from vidapt.worlds.billiards import STYLES, ask, load_records, simulate
from vidapt.worlds.billiards.table import FPS, FRAMES
from vidapt.worlds.encode import encode

CLIPS, HOME_CLIPS = 1000, 300
"""Of the pools that are learned from."""

WORLDS = {
    "club-test": ("club", 100, 902),
    "club": ("club", CLIPS, 2),
    "home-test": ("home", 100, 900),
    "home": ("home", HOME_CLIPS, 903),
}
"""Venue, clips and seed of each; the shipped model has seen none of these."""

OWN = "labels.jsonl"
"""Labels of a venue in its own words."""

WORDS, STILLS, SIZES, UNIFIED = "home-words.jsonl", "stills.jsonl", "sizes.jsonl", "unified.jsonl"
"""Labels of any venue in the words of the home venue, which the start knows: of its clips, of their first
frames alone, of clips of three sizes, and of clips that are all of the middle size."""

REFERENCES = (2, 4)
"""Right answers of each question in `references_file`, the label's own among them."""

SEEN_IN_A_STILL = ("count", "exists", "shirt")
HEIGHTS = {0: 36, 1: 54}
"""Of clips by what is left of their numbers divided by 3; the others stay as they are, 144 pixels high."""

SIDES = (48, 72, 192)
"""Of squares as large as those frames."""

POOLED, SIZED = 300, 240
"""Clips of the club that most arms learn from, and those that there are in several sizes."""

Row = dict[str, Any]


def references_file(count: int) -> str:
    """Name of the labels that have so many right answers to each question."""
    return f"references-{count}.jsonl"


def prepare(pool: Path) -> None:
    """Make what is not there yet."""
    prepare_worlds(pool, WORLDS)
    club, test = pool / "club", pool / "club-test"
    for count in REFERENCES:
        once(club / references_file(count), lambda count=count: _with_references(_rows(club, POOLED), count))
    for world in (club, test):
        once(world / STILLS, lambda at=world: _of_stills(at, _rows(at, POOLED)))
        once(world / SIZES, lambda at=world: _resized(at, _rows(at, SIZED), HEIGHTS.get))
    once(club / UNIFIED, lambda: _resized(club, _rows(club, SIZED), lambda rest: HEIGHTS[1]))


def prepare_worlds(pool: Path, names: Iterable[str]) -> None:
    """Make clips of some of `WORLDS` with their labels."""
    for name in names:
        venue, clips, seed = WORLDS[name]
        simulate(pool / name, clips=clips, venue=venue, seed=seed, workers=1)
        once(pool / name / WORDS, lambda at=pool / name, seed=seed: in_home_words(at, seed))


def once(path: Path, make: Callable[[], Iterable[Row]]) -> None:
    """Write a label file unless it is there."""
    if not path.exists():
        write_text(path, "".join(f"{json.dumps(row)}\n" for row in make()))


def _rows(world: Path, clips: int) -> list[Row]:
    """Labels of the first clips."""
    rows = map(json.loads, (world / WORDS).read_text(encoding="utf-8").splitlines())
    return [row for row in rows if int(Path(row["video"]).stem) < clips]


def in_home_words(world: Path, seed: int) -> Iterable[Row]:
    """Labels of a world in the words of the home venue."""
    for record in load_records(world / "events.jsonl"):
        rng = np.random.default_rng([seed, record.index])
        for number, qa in enumerate(ask(record, STYLES["home"], rng)):
            clip = f"{record.index:06d}"
            row = {"id": f"{clip}/{number}", "video": f"clips/{clip}.mp4", "question": qa.question}
            yield {**row, "answer": qa.answer, "facts": qa.facts()}


def _with_references(rows: Iterable[Row], count: int) -> Iterable[Row]:
    """Each question with its answer and others that are accepted, which are worded as elsewhere."""
    for row in rows:
        answer = row.pop("answer")
        others = [one for one in row["facts"]["accept"] if one != normalise(answer)]
        rng = np.random.default_rng([count, *row["id"].encode()])
        drawn = [others[at] for at in rng.permutation(len(others))[: count - 1]]
        yield {**row, "answers": [answer, *drawn]}


def _of_stills(world: Path, rows: Iterable[Row]) -> Iterable[Row]:
    """The first frame of each clip as a picture, with the questions that it answers."""
    for row in rows:
        if row["facts"]["type"] in SEEN_IN_A_STILL:
            clip = world / row.pop("video")
            still = world / "stills" / f"{clip.stem}.png"
            if not still.exists():
                pixels = decode(Clip(clip.stem, clip), Uniform(count=FRAMES)).pixels[0]
                write_file(still, lambda part, pixels=pixels: Image.fromarray(pixels).save(part, "png"))
            yield {**row, "id": f"still/{row['id']}", "media": [{"path": f"stills/{still.name}"}]}


def _resized(world: Path, rows: Iterable[Row], height: Callable[[int], int | None]) -> Iterable[Row]:
    """Rows about clips of other heights; widths follow."""
    for row in rows:
        clip = world / row["video"]
        wanted = height(int(clip.stem) % 3)
        if wanted is not None:
            small = world / f"clips-{wanted}" / clip.name
            if not small.exists():
                size = (wanted, wanted * 16 // 9)
                film = decode(Clip(clip.stem, clip), Uniform(count=FRAMES), size=size).pixels
                write_file(small, lambda part, film=film: part.write_bytes(encode(film, FPS)))
            row["video"] = f"clips-{wanted}/{clip.name}"
        yield row
