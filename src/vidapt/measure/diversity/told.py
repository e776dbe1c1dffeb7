"""Captions of several ways about the same clips, as `vidapt caption` wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.captioning.rows import CaptionRow, read_rows
from vidapt.errors import ConfigError, FormatError
from vidapt.measure.protocols.rows import read_test
from vidapt.nouns import Clip


@dataclass(frozen=True)
class Told:
    """What one file says.

    Attributes:
        name: Of the file.
        texts: The captions of each clip.
    """

    name: str
    texts: Mapping[Clip, tuple[str, ...]]

    @property
    def k(self) -> int:
        """The fewest captions of a clip."""
        return min(map(len, self.texts.values()))


def most(told: Sequence[Told], k: int | None) -> int:
    """Captions of each clip that are looked at: so many, or as many as all have that have several."""
    return k or min((one.k for one in told if one.k > 1), default=1)


@dataclass(frozen=True)
class Same:
    """Several files about the same clips.

    Attributes:
        told: One for each file, of the same clips.
        left_out: Clips that not all files are about, or that the labels do not know.
    """

    told: Sequence[Told]
    left_out: int


def read_told(paths: Sequence[Path], data: Path | None, kind: str | None = None) -> Same:
    """Read captions, and keep the clips that all files, and the labels, are about.

    Args:
        paths: What `vidapt caption` wrote.
        data: Labels; None asks no labels.
        kind: Their format.

    Raises:
        ConfigError: If a file is given twice, or they have no clip in common.
        FormatError: If one holds something other than captions.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("CAPTIONS", "one file is given twice", "give each once")
    rows = [_rows(path) for path in paths]
    known = None if data is None else _known(data, kind)
    every = [{_clip(row): _texts(row) for row in one} for one in rows]
    if known is not None:
        every = [
            {own: texts for clip, texts in one.items() if (own := _among(clip, known)) is not None}
            for one in every
        ]
    common = set(every[0]).intersection(*every[1:])
    if not common:
        beside = "" if data is None else f" and {data}"
        listed = ", ".join(map(str, paths))
        raise ConfigError("CAPTIONS", f"{listed}{beside} have no clip in common", "caption the same folder")
    order = sorted(common, key=lambda clip: clip.id)
    names = [path.stem for path in paths]
    unique = names if len(set(names)) == len(names) else [str(path) for path in paths]
    told = [Told(name, {clip: one[clip] for clip in order}) for name, one in zip(unique, every, strict=True)]
    named = {row.clip for one in rows for row in one}
    return Same(told, len(named) - len(order))


def _texts(row: CaptionRow) -> tuple[str, ...]:
    return row.captions or (row.caption,)


def _clip(row: CaptionRow) -> Clip:
    return Clip(row.clip, row.footage(), row.start_s or 0.0, row.end_s)


def _known(data: Path, kind: str | None) -> dict[str, list[Clip]]:
    """Clips of labels, by the names of their files."""
    found: dict[str, list[Clip]] = {}
    for clip in dict.fromkeys(clip for sample in read_test(data, kind) for clip in sample.media):
        found.setdefault(clip.path.name, []).append(clip)
    return found


def _among(clip: Clip, known: Mapping[str, Sequence[Clip]]) -> Clip | None:
    """The labels' clip of the same file and stretch, under the captions' name; None if there is none.

    A file that is where the captions found it has to be that of the labels. One that was moved since goes by
    the end of its path.
    """
    film = clip.id if clip.end_s is None else clip.id.rpartition("@")[0]
    tail = Path(film).parts
    for other in known.get(clip.path.name, ()):
        if (other.start_s, other.end_s) != (clip.start_s, clip.end_s):
            continue
        same = clip.path.samefile(other.path) if clip.path.exists() and other.path.exists() else None
        if same or (same is None and other.path.parts[-len(tail) :] == tail):
            return Clip(clip.id, other.path, clip.start_s, clip.end_s)
    return None


def _rows(path: Path) -> list[CaptionRow]:
    """Rows of a file that is only read: what is to be mended is the name given, not the file."""
    try:
        return read_rows(path)
    except FormatError as error:
        raise FormatError(error.where, error.found, "give a file that `vidapt caption` wrote") from error
