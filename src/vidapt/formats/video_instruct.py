"""VideoInstruct-100K: a JSON list of `{"q", "a", "video_id"}`.

Published with Video-ChatGPT (Maaz et al. 2023, arXiv 2306.05424). A video is the file under `media_root` (or
in the label file's folder) whose name is its id with any video suffix.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from vidapt.formats._base import FileConfig, read_samples
from vidapt.formats._media import TINY_STILL
from vidapt.formats._row import Row
from vidapt.formats._talk import conversation
from vidapt.nouns import Clip, Sample, Turn
from vidapt.video.suffixes import VIDEO_SUFFIXES

_KEYS = frozenset({"q", "a", "video_id"})


class Part:
    """Reads VideoInstruct-100K."""

    class Config(FileConfig):
        """Options; `media_root` is the folder of the videos."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether a file whose first row has these keys is in this format."""
        return keys >= _KEYS

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a label file, lazily.

        Raises:
            FormatError: If a row is unsound, an id has two videos, or, at the end, if videos are missing.
        """
        yield from read_samples(path, self.cfg, self.reader(path))

    def reader(self, path: Path, *, look: bool = True) -> Callable[[Row], Sample]:
        """Return what makes samples of single rows; folders are listed once, whether or not to `look`."""
        del look
        shelf = _Shelf(self.cfg.media_root or path.parent)
        return lambda row: _sample(row, shelf)


def _sample(row: Row, shelf: _Shelf) -> Sample:
    row.no_slips(_KEYS)
    name = row.text("video_id")
    turns = conversation([Turn("user", row.text("q")), Turn("assistant", row.text("a"))], 1, row)
    return Sample(row.name, (Clip(name, shelf.video(name, row)),), turns, source=row.where)


class _Shelf:
    """Videos of a folder by id; each folder is listed once, however many rows there are."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def video(self, name: str, row: Row) -> Path:
        """Return the video of an id, or the path without a suffix if there is none."""
        bare = self._root / name
        found = self._listing(bare.parent).get(unicodedata.normalize("NFC", bare.name), [])
        if len(found) > 1:
            files = " and ".join(path.name for path in sorted(found))
            raise row.error(f"the id {name!r} has two videos: {files}", "keep one of them")
        return found[0] if found else bare

    def _listing(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._folders:
            listing: dict[str, list[Path]] = {}
            for path in _entries(folder):
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    listing.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
            self._folders[folder] = listing
        return self._folders[folder]


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing if there is none, as where an id is no name a file can have."""
    try:
        return list(folder.iterdir())
    except (OSError, ValueError):
        return []


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest label file and a stand-in for its video into `folder`; return the file."""
    # Only the suffix is looked at here; decoders go by content, to which a still is a video of one frame.
    (folder / "v_0.mp4").write_bytes(TINY_STILL)
    path = folder / "instruct.json"
    path.write_text('[{"q": "what colour?", "a": "black.", "video_id": "v_0"}]\n')
    return path
