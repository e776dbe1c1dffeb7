"""Which clips there are, and what tells them apart."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vidapt.captioning.found import find_clips
from vidapt.captioning.namesakes import folder_of
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
    """

    path: Path
    albums: bool = False
    fps: float | None = None
    workers: int | None = None

    @property
    def processes(self) -> int:
        """How many decode."""
        return (os.cpu_count() or 1) if self.workers is None else self.workers


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
    """

    settings: str
    folder: str
    clips: dict[str, Clip]
    contents: dict[str, str]
    unreadable: dict[str, str]
    ignored: Counter[str]

    @property
    def names(self) -> set[str]:
        """Of all clips that are there, readable or not."""
        return {clip.id for clip in self.clips.values()} | self.unreadable.keys()

    @property
    def keys(self) -> dict[str, str]:
        """The key of every clip by its name."""
        return {clip.id: key for key, clip in self.clips.items()}


def find_todo(source: Source, settings: str, report: Reporter = silent) -> Todo:
    """Find clips and what tells their content.

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
    return Todo(settings, folder_of(source.path), clips, contents, unreadable, found.ignored)
