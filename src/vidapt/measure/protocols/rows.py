"""Rows of a test, under the names in which tests are published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidapt import formats
from vidapt.curation.versions import check_version
from vidapt.errors import FormatError
from vidapt.formats._media import MediaFinder, checked
from vidapt.formats._row import Row, rows
from vidapt.metrics.protocols._columns import ANSWER, QUESTION
from vidapt.nouns import Clip, Sample, Turn

VIDEO = ("video", "video_path", "video_name", "video_id", "video_file", "image", "path", "file_name")
ID = ("id", "question_id", "sample_id", "qid")
_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif", ".jpg", ".png")
_PLAIN = frozenset({".jsonl", ".json"})
_MOST_BYTES = 1 << 26
_GLANCE = 1 << 16
_OWN = frozenset({"facts", "start_s", "end_s", "fps"})


def read_test(path: Path, kind: str | None = None, media_root: Path | None = None) -> list[Sample]:
    """Read a test: labels in any format that vidapt reads, or JSON whose columns are named as others do it.

    Columns of no other meaning become facts, so that protocols find them.

    Args:
        path: Label file or folder.
        kind: Its format; None tells it from the content.
        media_root: Where the media lie; None is the file's own folder.

    Raises:
        FormatError: If a row cannot be read, or media are missing.
        ConfigError: If it is a frozen version, and not what was frozen.
    """
    check_version(path)
    options = {} if media_root is None else {"media_root": media_root}
    if kind is not None or path.is_dir() or path.suffix.lower() not in _PLAIN:
        return list(formats.open_samples(path, kind, **options))
    try:
        return list(formats.open_samples(path, None, **options))
    except FormatError as error:
        # A format of labels has no room for further columns; a test has.
        try:
            return list(checked(_read(path, media_root)))
        except _NoTestError:
            raise error from None


def names_protocols(path: Path) -> bool:
    """Whether a file's first rows say by which protocols they are measured."""
    if path.suffix.lower() not in _PLAIN or not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"protocol"' in file.read(_GLANCE)


class _NoTestError(Exception):
    """The first row names no footage under any of the names that are known."""


def _read(path: Path, media_root: Path | None) -> Iterator[Sample]:
    finder, places = MediaFinder(path, media_root), dict[str, str]()
    for row in rows(path, _MOST_BYTES):
        name = _first(row.values, VIDEO)
        if name is None:
            if not places:
                raise _NoTestError
            raise row.error("names no footage", f"write it under `{VIDEO[0]}`")
        sample = _sample(row, name, finder)
        if sample.id in places:
            raise row.error(f"the id {sample.id!r} is already that of {places[sample.id]}")
        places[sample.id] = row.where
        yield sample


def _sample(row: Row, name: str, finder: MediaFinder) -> Sample:
    values = row.values
    given = row.text(name)
    asked, said = _first(values, QUESTION), _first(values, ANSWER)
    known = {name, asked, said, *ID, *_OWN}
    facts = dict(values.get("facts") or {}) if isinstance(values.get("facts"), Mapping) else {}
    facts |= {key: value for key, value in values.items() if key not in known}
    if isinstance(values.get(said or ""), int):
        facts["answer_index"] = values[said or ""]
    start_s, end_s = row.seconds("start_s") or 0.0, row.seconds("end_s")
    named = given if start_s == 0 and end_s is None else f"{given}@{start_s}-{'' if end_s is None else end_s}"
    clip = Clip(named, _found(given, row, finder), start_s, end_s, row.seconds("fps"))
    answers = [] if said is None else _texts(values[said])
    turns = (
        Turn("user", "" if asked is None else row.text(asked)),
        Turn("assistant", answers[0] if answers else ""),
    )
    key = next((key for key in ID if key in values), ID[0])
    return Sample(
        row.identity(key), (clip,), turns, facts=facts, source=row.where, references=tuple(answers[1:])
    )


def _found(given: str, row: Row, finder: MediaFinder) -> Path:
    """A clip's file; where a test names clips without their suffix, the one that is there."""
    path = finder.path(given, row)
    if path.exists():
        return path
    return next(
        (other for suffix in _SUFFIXES if (other := path.with_name(path.name + suffix)).exists()), path
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [str(value)] if isinstance(value, str | int | float) else []


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if values.get(name) not in (None, "")), None)
