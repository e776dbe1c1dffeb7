"""Where clips come from: folders, patterns, lists, label files and shards of tar files."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vidapt.captioning.addressed import LISTS, TAR, ZIPPED, At, clips_at, clips_listed
from vidapt.captioning.found import Found, clips_in, readable
from vidapt.captioning.places import Place, absolute, is_address
from vidapt.digests import seed_of
from vidapt.errors import ConfigError, FormatError
from vidapt.files import matching
from vidapt.formats import each_sample, is_list
from vidapt.formats.webdataset import members
from vidapt.nouns import Clip
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_APART = 1 << 15
"""Numbers that are held apart before they go into the sorted ones."""

_ALONE = "input"
"""What an input is called of which not even a name can be read."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is to have one row.

    Attributes:
        name: What it is called; unique in its job.
        path: Its file as the system names it, or the tar file that it lies in, or the address of either.
        start_s: First moment, in seconds from the first frame.
        end_s: Last moment; None is the end of the file.
        rate: Pictures per second of a folder of pictures.
        offset: First byte in a tar file; None where it is a file of its own.
        size: Bytes in a tar file.
        wrong: Why it cannot be used at all; None where nothing is known against it.
        error: The class of that.
        like: Name of the clip that it shows the same as; None where it is captioned itself.
    """

    name: str
    path: str
    start_s: float = 0.0
    end_s: float | None = None
    rate: float | None = None
    offset: int | None = None
    size: int | None = None
    wrong: str | None = None
    error: str | None = None
    like: str | None = None

    @classmethod
    def of(cls, clip: Clip) -> Input:
        """The input of a clip."""
        return cls(readable(clip.id), str(clip.path.absolute()), clip.start_s, clip.end_s, clip.rate)

    @property
    def clip(self) -> Clip:
        """As a decoder takes it, if it is a file of its own."""
        return Clip(self.name, Path(self.path), self.start_s, self.end_s, self.rate)


@dataclass
class Listing:
    """What is to be captioned.

    Attributes:
        sources: Folders, clips, lists, label files, tar files, and patterns of them.
        albums: A folder of pictures without a video is one clip.
        fps: Pictures per second of such folders.
        dedup: Clips that show the same as another one are marked.
        ignored: Files that were no clips, by suffix, and inputs that were named before, as `repeated`.
        rated: Whether `fps` was of use.
    """

    sources: Sequence[Place]
    albums: bool = False
    fps: float | None = None
    dedup: bool = False
    ignored: Counter[str] = field(default_factory=Counter)
    rated: bool = False

    @property
    def said(self) -> list[object]:
        """What tells this listing from others before it is made."""
        return [[*map(absolute, self.sources)], self.albums, self.fps, self.dedup]

    def inputs(self) -> Iterator[Input]:
        """Yield what is found, source after source, each stretch of a file once and by a name of its own.

        Folders are read in natural order, the files of one before those of the folders inside it.

        Raises:
            ConfigError: If nothing is there.
            FormatError: If a list, a label file or a tar file cannot be read.
        """
        paths: list[Place] = []
        for source in self.sources:
            found: Sequence[Place] = [source] if isinstance(source, str) else matching(source)
            if not found:
                raise ConfigError(source, "there is no such file or folder", "check the path")
            paths += found
        self._refuse_albums()
        groups = itertools.chain.from_iterable(self._group(path) for path in paths)
        # What a folder holds has names of its own.
        alone = paths[0] if len(paths) == 1 else None
        yield from groups if isinstance(alone, Path) and alone.is_dir() else _distinct(groups, self.ignored)

    def _refuse_albums(self) -> None:
        if self.albums and any(map(is_address, self.sources)):
            raise ConfigError("--albums", "in an object store pictures are clips", "copy the folders here")

    def _group(self, path: Place) -> Iterator[Input]:
        if isinstance(path, str):
            return (_input(one, path) for one in clips_at(path, self.ignored))
        if path.is_dir():
            return self._in_folder(path)
        if path.suffix.lower() == TAR:
            return self._in_tar(path)
        kind = path.with_suffix("") if path.suffix.lower() == ZIPPED else path
        if kind.suffix.lower() in LISTS:
            return _rows(path)
        return iter([Input.of(Clip(path.name, path))])

    def _in_folder(self, root: Path) -> Iterator[Input]:
        found = Found()
        for clip in clips_in(root, found, albums=self.albums):
            rated = self.fps is not None and clip.path.is_dir()
            self.rated |= rated
            yield Input.of(replace(clip, rate=self.fps) if rated else clip)
        for name, reason in found.unreadable.items():
            yield Input(name, str(root.absolute() / name), wrong=reason, error="OSError")
        self.ignored.update(found.ignored)

    def _in_tar(self, path: Path) -> Iterator[Input]:
        whole = str(path.absolute())
        for name, offset, size in members(path):
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name in a tar file is no path here
            if suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                yield Input(readable(f"{path.name}/{name}"), whole, offset=offset, size=size)
            else:
                self.ignored[suffix] += 1


def _distinct(inputs: Iterable[Input], ignored: Counter[str]) -> Iterator[Input]:
    """Pass inputs on, each stretch of a file once and with a name of its own."""
    seen = Names()
    for one in inputs:
        if seen.repeats(one):
            ignored["repeated"] += 1
        else:
            yield seen.named(one)


class Seen:
    """Numbers that there were: some ten bytes each."""

    def __init__(self) -> None:
        self._held, self._new = np.empty(0, np.uint64), set[int]()

    def add(self, number: int) -> bool:
        """Take in 64 bits; whether they are new."""
        if number in self:
            return False
        self._new.add(number)
        if len(self._new) == _APART:
            self._held = np.union1d(self._held, np.fromiter(self._new, np.uint64))
            self._new.clear()
        return True

    def __contains__(self, number: int) -> bool:
        if number in self._new:
            return True
        at = self._held.searchsorted(np.uint64(number))
        return bool(at < len(self._held) and self._held[at] == number)


class Names:
    """Which stretches of files and which names there were, by 64 bits of each."""

    def __init__(self) -> None:
        self._stretches, self._names = Seen(), Seen()
        self._uses: Counter[str] = Counter()

    def repeats(self, one: Input) -> bool:
        """Whether the same stretch was there before; unreadable rows are all different."""
        if one.wrong is not None:
            return False
        return not self._stretches.add(seed_of(os.fsencode(one.path), one.offset, one.start_s, one.end_s))

    def named(self, one: Input) -> Input:
        """The input, with a number behind its name if another one has it."""
        name = one.name
        while not self._names.add(seed_of(name)):
            self._uses[one.name] += 1
            name = f"{one.name}#{self._uses[one.name] + 1}"
        return one if name == one.name else replace(one, name=name)


def _rows(path: Path) -> Iterator[Input]:
    """Inputs of a list or of labels; an unsound row is one as well."""
    if is_list(path):
        found: Iterable[Clip | At | FormatError] = clips_listed(path)
    else:
        found = _labelled(path)
    for one in found:
        yield _input(one, path)


def _input(one: Clip | At | FormatError, source: Place) -> Input:
    if isinstance(one, FormatError):
        return _unsound(one, source)
    if isinstance(one, Clip):
        return Input.of(one)
    clip, url, part = one
    offset, size = part or (None, None)
    return Input(readable(clip.id), url, clip.start_s, clip.end_s, clip.rate, offset, size)


def _labelled(path: Path) -> Iterator[Clip | FormatError]:
    for sample in each_sample(path):
        if isinstance(sample, FormatError):
            yield sample
        else:
            yield from sample.media


def _unsound(error: FormatError, source: Place) -> Input:
    place = error.where.rpartition(":")[2]
    name, wrong = f"{Path(source).name}:{place or _ALONE}", f"the row is unsound: {error.found}"
    return Input(name, absolute(source), wrong=wrong, error=type(error).__name__)
