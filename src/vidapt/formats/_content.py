"""What is said as a list of parts, and media as objects: the ways of ms-swift beside plain text and paths.

Source: ms-swift's documentation of its data sets and `StdTemplateInputs` of its code: a part
`{"type": "image", "image": path}` is a mark in the text and a path in `images`; types may end in `_url`, with
values such as `{"url": path}`. Its tables hold stills as `{"bytes": null, "path": path}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidapt.errors import FormatError, nearest
from vidapt.formats._row import Row
from vidapt.formats._talk import IMAGE_MARK, VIDEO_MARK

_MARKS: Mapping[str, str] = {"image": IMAGE_MARK, "video": VIDEO_MARK}
_SCHEME = "file://"

Medium = str | tuple[str, ...]
"""A path, or those of a clip's frames."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a turn says.

    Attributes:
        text: With a mark where each of its media stands.
        media: Those that it names itself, by kind (`image`, `video`).
    """

    text: str
    media: Mapping[str, list[Medium]] = field(default_factory=dict)


def content_of(row: Row, key: str) -> Content:
    """Return what a key holds, text or a list of parts.

    Raises:
        FormatError: If it is neither, or a part is unsound.
    """
    if not isinstance(row.need(key), list):
        return Content(row.text(key))
    said = ""
    media: dict[str, list[Medium]] = {kind: [] for kind in _MARKS}
    for entry in row.listed(key):
        part = row.inner(entry, f"a part of {key!r}")
        name = part.text("type")
        kind = name.removesuffix("_url")
        if kind == "text":
            said += _words(part)
            continue
        if kind not in _MARKS:
            known = nearest(kind, [*_MARKS, "text"])
            raise part.error(f"a part of type {name!r} cannot be learnt from", known)
        said += _MARKS[kind]
        given = next((part.values[k] for k in (name, "path", "url") if part.values.get(k) is not None), None)
        if given is not None:
            media[kind].append(_medium(given, name, kind, part))
    # What is empty, or no text, is refused in the same words as elsewhere.
    return Content(Row({key: said}, row.where, row.name).text(key), media)


def media_of(row: Row, kind: str) -> list[Medium]:
    """Return the media of a kind, listed under its plural: one or a list; none if it is absent or null.

    Raises:
        FormatError: If one is no path, nor an object that has one, nor, of a video, a list of frames.
    """
    key = f"{kind}s"
    value = row.values.get(key)
    if value is None:
        return []
    return [_medium(entry, key, kind, row) for entry in (value if isinstance(value, list) else [value])]


def nothing(value: Any) -> bool:
    """Whether a key holds nothing, also as JSON within JSON: `"[]"`."""
    return not value or (isinstance(value, str) and value.strip() in ("[]", "{}", "null", ""))


def _medium(value: Any, what: str, kind: str, row: Row) -> Medium:
    """A path, or a video's frames."""
    if kind == "video" and isinstance(value, list) and value:
        return tuple(_path(frame, what, row) for frame in value)
    return _path(value, what, row)


def _words(part: Row) -> str:
    words = part.need("text")
    # A line break between two pictures is a part of its own, and no empty text.
    return words if isinstance(words, str) and words.isspace() else part.text("text")


def _path(value: Any, what: str, row: Row) -> str:
    """The path of a medium, given as one or in an object."""
    if isinstance(value, dict):
        held = {key: value[key] for key in ("path", "url") if value.get(key) is not None}
        if not held and value.get("bytes") is not None:
            raise _inside(what, row)
        value = next(iter(held.values()), value)
    if isinstance(value, list):
        raise row.error(
            f"{what!r} holds a list in place of a path",
            "put the frames of a clip into a folder of their own and give its path",
        )
    path = Row({what: value}, row.where, row.name).text(what)
    if path.startswith("data:"):
        raise _inside(what, row)
    return path.removeprefix(_SCHEME)


def _inside(what: str, row: Row) -> FormatError:
    return row.error(f"{what!r} holds a file itself, not its path", "write it to a file and give its path")
