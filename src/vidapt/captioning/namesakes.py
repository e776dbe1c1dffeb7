"""Clips of equal names in different folders, whose captions go into one file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vidapt.captioning.found import order, readable
from vidapt.captioning.places import Place
from vidapt.captioning.rows import CaptionRow
from vidapt.errors import ConfigError

_TOLD = 3
"""Names told in an error."""


def folder_of(source: Place | Sequence[Place]) -> str:
    """Where the names of clips begin, as `find_clips` gives them; nothing needs to be there."""
    if isinstance(source, str):
        return readable(source)
    if not isinstance(source, Path):
        return readable(str(Path.cwd()))
    is_folder = os.path.isdir(source)  # noqa: PTH112 - it raises nothing, whatever the name
    return readable(str((source if is_folder else source.parent).resolve()))


def refuse_namesakes(
    out: Path,
    rows: Sequence[CaptionRow],
    keys: Mapping[str, str],
    folder: str,
    films: Collection[str] = (),
) -> None:
    """Refuse to drop rows of another folder's clips for clips of the same names and other content.

    In the same folder a clip was changed, and its old row is of no use any more.

    Args:
        out: The file with the captions.
        rows: What it and an unfinished job hold.
        keys: Of the clips that are to be captioned, by their names.
        folder: Where these names begin.
        films: Files that were cut, by name: all their stretches are among the clips.

    Raises:
        ConfigError: If there are such rows.
    """
    foreign = (row for row in rows if row.folder not in ("", folder))
    others = [row for row in foreign if not _holds(row, keys, films)]
    if not others:
        return
    names = list(dict.fromkeys(row.film for row in others))
    named = ", ".join(names[:_TOLD]) + (", ..." if len(names) > _TOLD else "")
    raise ConfigError(
        out,
        f"has captions of clips in {others[0].folder} whose names other clips in {folder} have too: {named}",
        "write to another file, caption the folder above both at once, or overwrite",
    )


def merged(
    rows: Sequence[CaptionRow], keys: Mapping[str, str], folder: str, films: Collection[str] = ()
) -> list[CaptionRow]:
    """One row per name in natural order: later ones before earlier ones, none whose clip has changed since.

    A clip that is found again with its content is where it was found, however its folder was called before.
    """
    current = {
        row.clip: replace(row, folder=folder) if row.clip in keys else row
        for row in rows
        if _holds(row, keys, films)
    }
    return sorted(current.values(), key=lambda row: order(row.clip))


def _holds(row: CaptionRow, keys: Mapping[str, str], films: Collection[str]) -> bool:
    """Whether a row is of a clip as it is now, or of one that was not looked at."""
    if row.clip in keys:
        return keys[row.clip] == row.key
    return row.film not in films
