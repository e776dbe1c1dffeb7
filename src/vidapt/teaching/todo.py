"""Which clips there are, and what tells them apart."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidapt.captioning.chunks import Cutting, cut
from vidapt.captioning.found import find_clips
from vidapt.captioning.journal import Journal
from vidapt.captioning.places import folder_of
from vidapt.digests import digest
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent
from vidapt.video.identity import identity


@dataclass(frozen=True)
class Source:
    """Which clips.

    Attributes:
        path: A folder, or one clip.
        albums: A folder with pictures and no video is one clip.
        fps: Pictures per second of such folders.
        workers: Decoding processes; None is one per core.
        cutting: How films are cut into stretches that are labelled each; None leaves them whole.
    """

    path: Path
    albums: bool = False
    fps: float | None = None
    workers: int | None = None
    cutting: Cutting | None = None

    @property
    def processes(self) -> int:
        """How many decode."""
        return (os.cpu_count() or 1) if self.workers is None else self.workers

    def settings(self, recipe: str) -> str:
        """Hash of all but the footage that labels depend on, of that of the recipe."""
        return recipe if self.cutting is None else digest([recipe, self.cutting.settings])


@dataclass(frozen=True)
class Todo:
    """What there is to do.

    Attributes:
        settings: Hash of all but the clips that labels depend on.
        folder: Where names of clips begin.
        clips: Of all that can be read, by key.
        contents: Their `video.identity`, by key.
        unreadable: What is wrong with the rest, by name.
        ignored: Files that are no clips, by suffix.
        notes: What is to be told of some stretches of films, by key.
    """

    settings: str
    folder: str
    clips: dict[str, Clip]
    contents: dict[str, str]
    unreadable: dict[str, str]
    ignored: Counter[str]
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Of all clips that are there, readable or not."""
        return {clip.id for clip in self.clips.values()} | self.unreadable.keys()

    @property
    def keys(self) -> dict[str, str]:
        """The key of every clip by its name."""
        return {clip.id: key for key, clip in self.clips.items()}


def find_todo(source: Source, settings: str, report: Reporter = silent, cuts: Path | None = None) -> Todo:
    """Find clips and what tells their content, and cut them where that is wanted.

    Args:
        source: Which clips.
        settings: Hash of all but the clips that labels depend on.
        report: Told how far the work is.
        cuts: Where it is kept where films are cut; None keeps it nowhere.

    Raises:
        ConfigError: If there is none.
    """
    found = find_clips(source.path, albums=source.albums, fps=source.fps)
    clips: dict[str, Clip] = {}
    contents: dict[str, str] = {}
    unreadable = dict(found.unreadable)
    for number, clip in enumerate(found.clips, start=1):
        try:
            content = identity(clip.path)
        except OSError as error:
            unreadable[clip.id] = f"it cannot be read ({error.strerror})"
        else:
            key = digest([clip.id, content, settings, *([] if clip.rate is None else [clip.rate])])
            clips[key], contents[key] = clip, content
        report("find clips", number, len(found.clips))
    todo = Todo(settings, folder_of(source.path), clips, contents, unreadable, found.ignored)
    if source.cutting is None:
        return todo
    if cuts is not None:
        return _cut(todo, source, source.cutting, cuts, report)
    with tempfile.TemporaryDirectory() as folder:
        return _cut(todo, source, source.cutting, Path(folder) / "cuts.jsonl", report)


def _cut(todo: Todo, source: Source, cutting: Cutting, place: Path, report: Reporter) -> Todo:
    """The same with stretches in the place of films."""
    with Journal(place) as journal:
        pieces = cut(todo.clips, cutting, journal, todo.settings, workers=source.workers, report=report)
    of_file = {clip.path: todo.contents[key] for key, clip in todo.clips.items()}
    return replace(
        todo,
        clips=pieces.clips,
        contents={key: of_file[clip.path] for key, clip in pieces.clips.items()},
        unreadable={**todo.unreadable, **pieces.broken},
        notes=pieces.notes,
    )
