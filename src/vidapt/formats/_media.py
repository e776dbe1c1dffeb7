"""Finding the clips a label file names, and telling all that are missing at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from vidapt.errors import FormatError, readable
from vidapt.files import exists
from vidapt.formats._row import Row
from vidapt.nouns import Clip, Sample
from vidapt.video.pictures import pictures_in

_ALBUM = "put the frames of each clip into a folder of their own, named in their order"

_OTHERWISE = re.compile(r"[\\\0]|//|(?:^|/)\./")

MOST_LISTED = 20
"""Missing files named in one error; their total is always given."""

TINY_STILL = (
    b"GIF87a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x08\x04\x00\x01\x04\x04\x00;"
)
"""A GIF of one pixel, with which every format makes its smallest valid data."""


class MediaFinder:
    """Turns the paths of one label file into files, remembering what it found.

    Tried in this order: relative to the label file's folder (an absolute path stands for itself), under
    `root`, and, if `beside` is set, the bare file name beside the label file; each as it is written, with
    slashes in place of backslashes (Windows), and with accents composed or not (macOS). If nothing exists,
    the path under `root` (without one, the folder's) is returned, to be reported as missing.

    Args:
        labels: The label file.
        root: Folder the media lie under, if not the label file's.
        beside: Whether folders in the given path may be dropped, as when a label file was copied
            together with its clips.
        look: Whether files are looked for at all; if not, the path of a missing one is returned for each.
    """

    def __init__(self, labels: Path, root: Path | None, beside: bool = False, *, look: bool = True) -> None:
        self._folder, self._root, self._beside, self._look = labels.parent, root, beside, look
        self._found: dict[str, Path] = {}
        self._claimed: dict[str, str] = {}

    def clip(self, given: str, row: Row) -> Clip:
        """Return the whole clip at a path as the label file gives it.

        Raises:
            FormatError: If it is an address and not a path, or if dropping folders would take two
                different paths for one file.
        """
        return Clip(id=given, path=self.path(given, row))

    def path(self, given: str, row: Row) -> Path:
        """Return the file behind a given path; errors as in `clip`."""
        if given not in self._found:
            if "://" in given or "\0" in given:
                raise row.error(f"{given!r} is not a path of a file", "download it first and give its path")
            self._found[given] = self._search(given, row)
        return self._found[given]

    def album(self, given: Sequence[str], row: Row) -> Clip:
        """Return the clip that a list of frames makes: the folder whose pictures they are.

        Raises:
            FormatError: If they are not all pictures of one folder in their natural order, or as in `clip`.
        """
        folders = {str(PurePath(name.replace("\\", "/")).parent) for name in given}
        if len(folders) != 1:
            raise row.error(f"the frames of a clip lie in {len(folders)} folders", _ALBUM)
        clip = self.clip(folders.pop(), row)
        if clip.path.is_dir() and [self.path(name, row) for name in given] != list(pictures_in(clip.path)):
            raise row.error(f"{len(given)} frames are not all pictures of {clip.id!r} in their order", _ALBUM)
        return clip

    def _search(self, given: str, row: Row) -> Path:
        roots = [self._folder] if self._root is None else [self._folder, self._root]
        if not self._look:
            return roots[-1] / given
        for root in roots:
            for spelling in spellings(given):
                if exists(root / spelling):
                    return root / spelling
        names = [Path(spelling).name for spelling in spellings(given)]
        beside = next((self._folder / name for name in names if exists(self._folder / name)), None)
        if self._beside and beside is not None:
            other = self._claimed.setdefault(beside.name, given)
            if other != given:
                raise row.error(
                    f"{given!r} and {other!r} would both be the file {beside}",
                    "set media_root to the folder these paths start from",
                )
            return beside
        return roots[-1] / given


def is_plain_path(given: str) -> bool:
    """Whether a path can be written in no other way that comes to mind, and needs no search."""
    return bool(given) and _OTHERWISE.search(given) is None


def spellings(name: str) -> Iterator[str]:
    """A name as it is written, and as other systems would have written it."""
    for one in dict.fromkeys((name, name.replace("\\", "/"))):
        yield from dict.fromkeys((one, unicodedata.normalize("NFC", one), unicodedata.normalize("NFD", one)))


def checked(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on, and after the last one name every missing file.

    Raises:
        FormatError: At the end, if files are missing: at most `MOST_LISTED` with their line, and how many.
    """
    seen: set[Path] = set()
    missing: list[tuple[str, Path]] = []
    for sample in samples:
        for clip in sample.media:
            if clip.path not in seen:
                seen.add(clip.path)
                if not exists(clip.path):
                    missing.append((sample.source, clip.path))
        yield sample
    if missing:
        raise _missing(missing, len(seen))


def _missing(missing: list[tuple[str, Path]], total: int) -> FormatError:
    lines = [f"  {source or 'sample'}  {readable(str(path))}" for source, path in missing[:MOST_LISTED]]
    if len(missing) > MOST_LISTED:
        lines.append(f"  ... and {len(missing) - MOST_LISTED} more")
    return FormatError(
        missing[0][0],
        f"{len(missing)} of {total} media files are missing:\n" + "\n".join(lines),
        "correct them, or name the folder they start from: --media-root (in recipes `options.media_root`)",
    )
