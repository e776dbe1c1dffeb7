"""Films cut into stretches, each of which is captioned as a clip of its own."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, cast

from vidapt.captioning.found import readable
from vidapt.captioning.journal import Cut, Stretch
from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip, Frames
from vidapt.progress import Reporter, silent
from vidapt.video import Policy, Times, decode_ahead
from vidapt.video.even import even_cuts
from vidapt.video.pictures import is_picture
from vidapt.video.shots import SIZE, Shots, find_shots

SHOTS: Literal["shots"] = "shots"

UNKNOWN = "nothing says how long it is; it is captioned as a whole"
"""Note of a film that cannot be cut."""

_LEAST_S = 1.0
"""Shortest chunk that may be asked for: twelve hours are 43,200 of them."""

_GROUP_S, _GROUP_FILMS = 2 * 3600.0, 32
"""Films whose shots are looked for together, and written down together."""

_WHOLE = (Stretch(None, None),)


@dataclass(frozen=True, slots=True)
class Cutting:
    """How films are cut.

    Attributes:
        seconds: From the beginning of one stretch to that of the next; None cuts by shots.
        overlap: Seconds for which a stretch goes on into the next one.

    Raises:
        ConfigError: If it cannot be.
    """

    seconds: float | None
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.overlap) and self.overlap >= 0):
            raise ConfigError("--overlap", f"{self.overlap} s cannot be", "give 0 or more seconds")
        if self.seconds is None:
            if self.overlap:
                raise ConfigError("--overlap", "shots do not overlap", "leave it out, or cut by seconds")
            return
        if not (math.isfinite(self.seconds) and self.seconds >= _LEAST_S):
            raise ConfigError("--chunk", f"{self.seconds} s cannot be", f"give {_LEAST_S:g} s or more")
        if self.overlap >= self.seconds:
            raise ConfigError(
                "--overlap",
                f"{self.overlap:g} s of a chunk of {self.seconds:g} s leave nothing new",
                "give less than the chunk",
            )

    @classmethod
    def of(cls, chunk: float | str | None, overlap: float = 0.0) -> Cutting | None:
        """Read what a user gives: seconds, `shots`, or None, which cuts nothing.

        Raises:
            ConfigError: If it is none of these, or an overlap is given where nothing is cut.
        """
        if chunk is None:
            if overlap:
                raise ConfigError("--overlap", "nothing is cut that could overlap", "give --chunk as well")
            return None
        if chunk == SHOTS:
            return cls(None, overlap)
        try:
            return cls(float(chunk), overlap)
        except ValueError:
            raise ConfigError("--chunk", f"is {chunk!r}", f"give seconds, or {SHOTS}") from None

    @property
    def settings(self) -> list[float | str]:
        """What tells captions of films that were cut otherwise apart."""
        return [SHOTS] if self.seconds is None else [float(self.seconds), float(self.overlap)]


def check_cutting(frames: Policy | None, cutting: Cutting | None) -> None:
    """Refuse to cut films for a model that looks at given moments of every file.

    Args:
        frames: The model's policy; None where it is a server's affair.
        cutting: How films are cut.

    Raises:
        ConfigError: If it does.
    """
    if cutting is not None and isinstance(frames, Times):
        raise ConfigError(
            "--chunk",
            "the model looks at the same moments of every file (`frames: times`), whatever the stretch",
            "leave it out, or give the model another policy",
        )


class Cuts(Protocol):
    """What remembers where films are cut.

    Attributes:
        cuts: By the key that a row of the whole film would have.
    """

    cuts: dict[str, Cut]

    def add(self, entry: Cut) -> None:
        """Remember one."""

    def sync(self) -> None:
        """Wait until it survives a loss of power."""


@dataclass(frozen=True)
class Pieces:
    """What is to be captioned.

    Attributes:
        clips: By the key of their rows, in order.
        notes: What is to be told of some, by key.
        broken: Films that cannot be cut, by name, with what is wrong.
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def cut(
    films: Mapping[str, Clip],
    cutting: Cutting,
    journal: Cuts,
    settings: str,
    *,
    workers: int | None = None,
    report: Reporter = silent,
) -> Pieces:
    """Cut films, each once in the life of a job: the journal keeps where.

    A still, a film no longer than a chunk, one of a single shot, and one of which nothing says how long it is
    stay whole.

    Args:
        films: By the key a row of the whole film would have.
        cutting: How.
        journal: Of the job.
        settings: As the job's rows have them.
        workers: Decoding processes; None is one per core.
        report: Told how far the work is.

    Raises:
        ConfigError: If a stretch would have the name of another clip.
    """
    count = (os.cpu_count() or 1) if workers is None else workers
    pieces = Pieces()
    todo = {key: clip for key, clip in films.items() if key not in journal.cuts}
    to_watch: dict[str, tuple[Clip, float]] = {}
    for key, clip, length in _lengths(todo, count, report):
        if isinstance(length, BrokenClip):
            pieces.broken[clip.id] = readable(length.reason)
        elif not length or cutting.seconds is not None:
            journal.add(Cut(key, settings, _by_time(clip, length, cutting)))
        else:
            to_watch[key] = (clip, length)
    for group in _groups(to_watch):
        shots = find_shots([to_watch[key] for key in group], workers=count, report=report)
        for key, found in zip(group, shots, strict=True):
            journal.add(Cut(key, settings, by_shots(found, to_watch[key][1])))
        journal.sync()
    for key, clip in films.items():
        if key in journal.cuts:
            _add(pieces, key, clip, journal.cuts[key].stretches)
    _refuse_same_names(pieces)
    return pieces


def by_time(length: float, seconds: float, overlap: float = 0.0) -> tuple[Stretch, ...]:
    """Stretches of so many seconds, the last of which may be shorter or a tenth longer.

    >>> [(one.start_s, one.end_s) for one in by_time(150, 60, 2)]
    [(0.0, 62.0), (60.0, 122.0), (120.0, 150.0)]
    """
    cuts = list(even_cuts(length, seconds, overlap))
    if not cuts:
        return _WHOLE
    ends = [*(cut + overlap for cut in cuts), float(length)]
    return tuple(
        Stretch(round(start, 3), round(end, 3)) for start, end in zip([0.0, *cuts], ends, strict=True)
    )


def by_shots(shots: Shots, length: float) -> tuple[Stretch, ...]:
    """One stretch per shot, which ends a millisecond before the next begins: that frame is not its own."""
    starts = [0.0, *(math.ceil(moment * 1000 - 1e-3) / 1000 for moment in shots.cuts)]
    ends = [*(round(start - 0.001, 3) for start in starts[1:]), round(length, 3)]
    return tuple(
        Stretch(start if shots.cuts else None, end if shots.cuts else None, _unseen(shots, start, end))
        for start, end in zip(starts, ends, strict=True)
    )


def _unseen(shots: Shots, start: float, end: float) -> tuple[str, ...]:
    return tuple(
        f"shots could not be looked for from {_seconds(part.start_s)} to {_seconds(part.end_s)} s: "
        f"{readable(part.reason)}"
        for part in shots.unseen
        if part.start_s < end and part.end_s > start
    )


def _by_time(clip: Clip, length: float, cutting: Cutting) -> tuple[Stretch, ...]:
    if length and cutting.seconds is not None:
        return by_time(length, cutting.seconds, cutting.overlap)
    return _WHOLE if is_picture(clip.path) else (Stretch(None, None, (UNKNOWN,)),)


def _lengths(
    films: Mapping[str, Clip], workers: int, report: Reporter
) -> Iterator[tuple[str, Clip, float | BrokenClip]]:
    """How long films are, by their headers, read where a decoder may crash; 0 where nothing says it."""
    stream = decode_ahead(films.values(), Times(times=(0.0,)), size=SIZE, workers=workers)
    with contextlib.closing(cast("Generator[tuple[Clip, Frames | BrokenClip], None, None]", stream)):
        for number, (key, (clip, frames)) in enumerate(zip(films, stream, strict=True), start=1):
            report("measure films", number, len(films))
            yield key, clip, frames if isinstance(frames, BrokenClip) else frames.length_s or 0.0


def _groups(films: Mapping[str, tuple[Clip, float]]) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0.0
    for key, (_, length) in films.items():
        group.append(key)
        total += length
        if total >= _GROUP_S or len(group) == _GROUP_FILMS:
            yield group
            group, total = [], 0.0
    if group:
        yield group


def _add(pieces: Pieces, key: str, film: Clip, stretches: Sequence[Stretch]) -> None:
    for stretch in stretches:
        own, clip = key, film
        if stretch.start_s is not None and stretch.end_s is not None:
            name = f"{film.id}@{_seconds(stretch.start_s)}-{_seconds(stretch.end_s)}"
            clip = replace(film, id=name, start_s=stretch.start_s, end_s=stretch.end_s)
            own = digest([key, stretch.start_s, stretch.end_s])
        pieces.clips[own] = clip
        if stretch.notes:
            pieces.notes[own] = stretch.notes


def _refuse_same_names(pieces: Pieces) -> None:
    named: set[str] = set()
    for clip in pieces.clips.values():
        if clip.id in named:
            raise ConfigError(
                clip.path, f"another clip is called {clip.id} as well", "rename one of the files"
            )
        named.add(clip.id)


def _seconds(moment: float) -> str:
    """As names hold it: no decimals or three, so that names are in the order of what they name."""
    return f"{moment:.0f}" if moment == round(moment) else f"{moment:.3f}"
