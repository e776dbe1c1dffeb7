"""What footage was when a run began, so that one that changed since is named and not trained on."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vidapt.errors import ConfigError
from vidapt.files import write_text
from vidapt.nouns import Clip
from vidapt.video.identity import identity
from vidapt.video.pictures import pictures_in

FOOTAGE = "footage.json"
"""In a run's folder."""

_THREADS = 8
"""Files looked at together: a few reads each, which on a shared disk are mostly waiting."""

_TOGETHER = 1000
"""Files handed to the threads at once, so that a million of them do not stand in a queue."""

_NAMED = 10


@dataclass(frozen=True)
class Footprint:
    """What is known of a file, or of a folder of pictures.

    Attributes:
        stamp: Size and time; while they are the same, nothing is read again.
        content: Its `video.identity`; None if it could not be read.
    """

    stamp: str
    content: str | None


def look(paths: Sequence[Path], known: Mapping[Path, Footprint]) -> dict[Path, Footprint]:
    """Footprints of files, several at a time; what has its old size and time is not read."""

    def one(path: Path) -> Footprint:
        try:
            stamp = stamp_of(path)
            old = known.get(path)
            return old if old is not None and old.stamp == stamp else Footprint(stamp, identity(path))
        except OSError:
            return Footprint("", None)

    found: dict[Path, Footprint] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for at in range(0, len(paths), _TOGETHER):
            some = paths[at : at + _TOGETHER]
            found |= zip(some, threads.map(one, some), strict=True)
    return found


def unchanged(run: Path, clips: Iterable[Clip]) -> dict[Path, Footprint]:
    """See that footage is what it was when a run began.

    Files are told apart by their order among the labels, so that a data set may be moved.

    Args:
        run: Folder of the run.
        clips: All that the run learns from, in order.

    Returns:
        What every file is now, to be kept by `write_footprints`.

    Raises:
        ConfigError: Naming clips that have changed.
    """
    names = {clip.path: clip.id for clip in reversed(list(clips))}
    paths = list(names)[::-1]
    before = _read(run / FOOTAGE)
    same = len(before) == len(paths)
    now = look(paths, dict(zip(paths, before, strict=True)) if same else {})
    if same:
        pairs = zip(paths, before, strict=True)
        changed = [names[path] for path, old in pairs if now[path].content != old.content]
        if changed:
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            raise ConfigError(
                run,
                f"clips have changed since it began: {', '.join(changed[:_NAMED])}{more}",
                "put them back as they were, or choose another `name` and train anew",
            )
    return now


def contents_of(run: Path) -> set[str]:
    """What was in the files of a run's clips, as `video.identity` has it; nothing where nobody knows."""
    return {one.content for one in _read(run / FOOTAGE) if one.content is not None}


def write_footprints(run: Path, prints: Iterable[Footprint]) -> None:
    """Write down, in a run's folder, what its files are."""
    rows = json.dumps([[one.stamp, one.content] for one in prints])
    write_text(run / FOOTAGE, json.dumps({"crc32": zlib.crc32(rows.encode()), "files": rows}) + "\n")


def stamp_of(path: Path) -> str:
    """Size and time of a file, or of all pictures of a folder.

    Raises:
        OSError: If it cannot be looked at.
    """
    if not path.is_dir():
        status = path.stat()
        return f"{status.st_size}:{status.st_mtime_ns}"
    seen = hashlib.sha256()
    for file in sorted(pictures_in(path)):
        status = file.stat()
        seen.update(os.fsencode(file.name) + f":{status.st_size}:{status.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _read(file: Path) -> list[Footprint]:
    """What a run began with; nothing, if that is not there or damaged: it is written anew then."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if zlib.crc32(kept["files"].encode()) != kept["crc32"]:
            return []
        return [Footprint(str(stamp), content) for stamp, content in json.loads(kept["files"])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
