"""Films cut into clips: a file for each shot, or for each stretch of so many seconds."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from vidapt.appended import Appended
from vidapt.errors import BrokenClip, ConfigError
from vidapt.files import check_folder
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent
from vidapt.video import probe
from vidapt.video.even import even_cuts
from vidapt.video.identity import identity
from vidapt.video.pictures import is_picture
from vidapt.video.pieces import Piece, write_pieces
from vidapt.video.scenes import Detector, find_scenes, need_library
from vidapt.video.shots import LEAST_S, find_shots

JOURNAL = "cuts.jsonl"


@dataclass(frozen=True)
class CutBy:
    """How films are cut.

    Attributes:
        by: Seconds of a stretch; None cuts by shots.
        detector: What finds shots: `leaps` is vidapt's own, the others are PySceneDetect's.
        least_s: No shot is shorter.

    Raises:
        ConfigError: If it cannot be, or a library is missing.
    """

    by: float | None = None
    detector: Literal["leaps"] | Detector = "leaps"
    least_s: float = LEAST_S

    def __post_init__(self) -> None:
        known = ("leaps", *get_args(Detector))
        if self.detector not in known:
            raise ConfigError("--detector", f"is {self.detector!r}", f"give one of {', '.join(known)}")
        for name, value in (("--by", self.by), ("--least", self.least_s)):
            if value is not None and not (math.isfinite(value) and value >= LEAST_S):
                raise ConfigError(name, f"{value} s cannot be", f"give {LEAST_S:g} s or more")
        if self.by is None and self.detector != "leaps":
            need_library(self.detector)


@dataclass(frozen=True)
class Film:
    """What became of a film.

    Attributes:
        film: Its name.
        key: Of its content and of how it is cut.
        clips: Files, in order, below the folder of clips; none if it is broken.
        starts_s: Where each begins, in seconds from the film's first frame.
        frames: Of each.
        notes: Parts in which no shots could be looked for.
        broken: Why there are no clips; empty if there are.
    """

    film: str
    key: str
    clips: Sequence[str] = ()
    starts_s: Sequence[float] = ()
    frames: Sequence[int] = ()
    notes: Sequence[str] = ()
    broken: str = ""


@dataclass(frozen=True)
class CutFilms:
    """What a folder of films became.

    Attributes:
        out: Folder of the clips.
        films: Each.
        done: How many were cut now; the others had been.
    """

    out: str
    films: Sequence[Film] = field(default_factory=tuple)
    done: int = 0

    @property
    def clips(self) -> int:
        """How many there are."""
        return sum(len(film.clips) for film in self.films)

    @property
    def broken(self) -> list[Film]:
        """Films that are no clips."""
        return [film for film in self.films if film.broken]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "clips": self.clips, "broken": len(self.broken)}


def cut(
    films: Sequence[Clip],
    out: Path,
    cutting: CutBy,
    *,
    workers: int = 2,
    report: Reporter = silent,
) -> CutFilms:
    """Write each stretch of each film as a clip.

    A film that was cut in the same way before, and has not changed, is passed over; so a job that was killed
    goes on. What became of each film stands in `cuts.jsonl`; broken ones cost themselves alone.

    Args:
        films: Video files; an id is a path below the folder they come from, and so are the clips' names.
        out: Folder of the clips.
        cutting: How.
        workers: Decoding processes where shots are looked for.
        report: Shows progress.

    Raises:
        ConfigError: If `out` cannot be written.
        TakenError: If another process works there.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    told: list[Film] = []
    with Appended(out / JOURNAL) as journal:
        known = {old.key: old for _, line in journal.lines() if (old := _read(line))}
        done, stems = 0, Counter(_stem(film.id) for film in films)
        for number, film in enumerate(films, 1):
            report("cut films", number - 1, len(films), film.id)
            key = _key(film, cutting)
            became = known.get(key)
            if became is None or not all((out / name).is_file() for name in became.clips):
                name = _stem(film.id) if stems[_stem(film.id)] == 1 else film.id
                became = _cut(film, key, name, out, cutting, workers)
                journal.write(asdict(became))
                done += 1
            told.append(became)
        report("cut films", len(films), len(films))
    return CutFilms(str(out), tuple(told), done)


def _read(line: Any) -> Film | None:
    """A film of the journal; None where a line is no such thing."""
    try:
        return Film(**line)
    except TypeError:
        return None


def _stem(film: str) -> str:
    return str(PurePosixPath(film).with_suffix(""))


def _key(film: Clip, cutting: CutBy) -> str:
    try:
        content = identity(film.path)
    except OSError as error:
        content = f"unreadable: {error.strerror}"
    return json.dumps([film.id, content, cutting.by, cutting.detector, cutting.least_s])


def _cut(film: Clip, key: str, named: str, out: Path, cutting: CutBy, workers: int) -> Film:
    if is_picture(film.path):
        return Film(film.id, key, broken="it is a picture, or a folder of some, and has no shots")
    try:
        length = probe(film.path).duration_s
        cuts, notes = _cuts(film, length, cutting, workers)
        starts = [0.0, *cuts]
        digits = max(4, len(str(len(starts))))
        names = [f"{named}-{number:0{digits}d}.mp4" for number in range(1, len(starts) + 1)]
        pieces = [Piece(start, out / name) for start, name in zip(starts, names, strict=True)]
        counts = write_pieces(film.path, pieces)
        notes += [f"no frame begins from {a:.1f} to {b:.1f} s" for a, b in _still(starts, counts)]
        kept = [at for at, count in enumerate(counts) if count]
        return Film(
            film.id,
            key,
            [names[at] for at in kept],
            [starts[at] for at in kept],
            [counts[at] for at in kept],
            notes,
        )
    except BrokenClip as broken:
        return Film(film.id, key, broken=broken.reason)


def _still(starts: Sequence[float], counts: Sequence[int]) -> Iterator[tuple[float, float]]:
    """Stretches in which no frame begins: a film of varying rate may stand still for long."""
    ends = zip(starts, starts[1:], counts, strict=False)  # the last stretch has frames
    return ((start, end) for start, end, count in ends if not count)


def _cuts(film: Clip, length: float, cutting: CutBy, workers: int) -> tuple[list[float], list[str]]:
    """Where a film is cut, and what is to be said of it."""
    if cutting.by is not None:
        return list(even_cuts(length, cutting.by)), []
    if cutting.detector != "leaps":
        return find_scenes(film, cutting.detector, least_s=cutting.least_s), []
    found = find_shots([(film, length)], workers=workers)[0]
    notes = [
        f"no shots were looked for from {one.start_s:.1f} to {one.end_s:.1f} s: {one.reason}"
        for one in found.unseen
    ]
    return list(_far_enough(found.cuts, length, cutting.least_s)), notes


def _far_enough(cuts: Sequence[float], length: float, least_s: float) -> Iterator[float]:
    """Cuts without those that would leave a shorter shot behind or before them."""
    last = 0.0
    for one in cuts:
        if last + least_s <= one <= length - least_s:
            yield one
            last = one
