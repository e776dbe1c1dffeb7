"""Which clips a folder or a list of paths holds, and in what order."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from vidapt.errors import ConfigError
from vidapt.files import exists
from vidapt.nouns import Clip
from vidapt.video.pictures import natural
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_TOLD = 5
"""Unreadable places named in an error."""


@dataclass
class Found:
    """What was found.

    Attributes:
        clips: In natural order of their names; an id is the path below the folder, with `/`.
        unreadable: Folders and links that may not be read, with the system's reason.
        ignored: How many other files there were, by suffix.
    """

    clips: list[Clip] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


def find_clips(
    source: Path | Sequence[Path],
    *,
    recursive: bool = True,
    albums: bool = False,
    fps: float | None = None,
) -> Found:
    """Find clips.

    In a folder, files count by their suffix: videos, stills and animations. Hidden files and all others
    are ignored and counted. Links to folders are followed, each folder is visited once.

    Args:
        source: A folder, or clips by name: files with any suffix, and folders of pictures.
        recursive: Look into the folders inside as well.
        albums: A folder that holds pictures and no video is one clip, not a clip per picture.
        fps: Pictures per second of folders of pictures.

    Raises:
        ConfigError: If nothing is there, or a rate is given that nothing would have.
    """
    if not isinstance(source, Path):
        found = Found([Clip(readable(path.as_posix()), path) for path in dict.fromkeys(source)])
    elif not exists(source):
        raise ConfigError(source, "there is no such file or folder", "check the path")
    elif source.is_dir():
        found = Found()
        found.clips += clips_in(source, found, recursive=recursive, albums=albums)
    else:
        found = Found([Clip(readable(source.name), source)])
    if not found.clips:
        where = source if isinstance(source, Path) else "clips"
        others = f"; {found.ignored.total()} other files are" if found.ignored else ""
        others += "".join(f"\n  {name}: {reason}" for name, reason in islice(found.unreadable.items(), _TOLD))
        raise ConfigError(where, f"no clip is here{others}", "give videos or pictures, or a folder with some")
    if fps is not None:
        if not any(clip.path.is_dir() for clip in found.clips):
            raise ConfigError(
                "--fps", "no clip is a folder of pictures", "leave it out, or give --albums as well"
            )
        found.clips = [replace(clip, rate=fps) if clip.path.is_dir() else clip for clip in found.clips]
    found.clips.sort(key=lambda clip: order(clip.id))
    return found


def order(name: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sort key of a clip's name: numbers count as numbers in every part, `2.mp4` before `10.mp4`."""
    return [natural(Path(part)) for part in PurePosixPath(name).parts], name


def readable(text: str) -> str:
    """A path's text with bytes that are not UTF-8 written as escapes, so that every file can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def clips_in(root: Path, found: Found, *, recursive: bool = True, albums: bool = False) -> Iterator[Clip]:
    """Yield the clips of a folder, one folder inside after another; `found` is told of all else.

    Args:
        root: The folder.
        found: What cannot be read is put down here, and what is no clip counted.
        recursive: Look into the folders inside as well.
        albums: A folder that holds pictures and no video is one clip.
    """
    for folder, files in _folders(root, found, recursive=recursive):
        visible = [file for file in files if not file.name.startswith(".")]
        videos = [file for file in visible if file.suffix.lower() in VIDEO_SUFFIXES]
        pictures = [file for file in visible if file.suffix.lower() in PICTURE_SUFFIXES]
        chosen = videos + pictures
        found.ignored.update(_kind(file) for file in set(files) - set(chosen))
        if albums and pictures and not videos:
            chosen = [folder]
        yield from (Clip(_name(path, root), path) for path in chosen)


def _kind(file: Path) -> str:
    """What a file that is left out is counted as."""
    return f"hidden {file.suffix.lower()}" if file.name.startswith(".") else file.suffix.lower()


def _name(path: Path, root: Path) -> str:
    return readable(path.name if path == root else path.relative_to(root).as_posix())


def _folders(root: Path, found: Found, *, recursive: bool) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder once with the files in it, in natural order, a folder before those inside it.

    Through a link only folders are visited that are not reached without.
    """
    visited: set[tuple[int, int]] = set()
    inside, linked = deque([root]), deque[Path]()
    while inside or linked:
        folder = inside.popleft() if inside else linked.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir(), key=lambda entry: (natural(entry), entry.name))
            os.stat(f"{folder}/.")  # noqa: PTH116 - names may be listed of a folder that may not be entered
        except OSError as error:
            found.unreadable[_name(folder, root)] = f"the folder cannot be read ({error.strerror})"
            continue
        folders, files = _sorted_out(entries, root, found)
        shown = [entry for entry in folders if recursive and not entry.name.startswith(".")]
        inside.extendleft(entry for entry in reversed(shown) if not entry.is_symlink())
        linked += [entry for entry in shown if entry.is_symlink()]
        yield folder, files


def _sorted_out(entries: Sequence[Path], root: Path, found: Found) -> tuple[list[Path], list[Path]]:
    """Folders, and everything else; what may not be looked at, such as what a link leads to, is put down."""
    folders: list[Path] = []
    files: list[Path] = []
    for entry in entries:
        try:
            (folders if entry.is_dir() else files).append(entry)
        except OSError as error:
            found.unreadable[_name(entry, root)] = f"it cannot be read ({error.strerror})"
    return folders, files
