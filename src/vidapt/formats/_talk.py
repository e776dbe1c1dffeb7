"""Conversations: roles in order, and one media mark per clip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from vidapt.errors import nearest
from vidapt.formats._row import Row
from vidapt.nouns import MEDIA, Role, Turn

T = TypeVar("T")

IMAGE_MARK, VIDEO_MARK = "<image>", "<video>"
_MARK = re.compile(f"{IMAGE_MARK}|{VIDEO_MARK}")


def role_of(name: str, names: Mapping[str, Role], row: Row) -> Role:
    """Translate a format's name of a role.

    Raises:
        FormatError: If the format has no such role.
    """
    if name not in names:
        raise row.error(f"unknown role {name!r}", nearest(name, names))
    return names[name]


def conversation(turns: Iterable[Turn], media: int, row: Row) -> tuple[Turn, ...]:
    """Return the turns with every image or video mark written as `MEDIA`, once they are known to be sound.

    Args:
        turns: At most one system turn in front, then user and assistant in turn, the assistant last.
        media: Number of clips of the sample.
        row: Where they come from, for errors.

    Raises:
        FormatError: If the roles are out of order, the assistant's text holds a mark, or the marks are
            neither none nor one per clip.
    """
    given = tuple(turns)
    spoken = given[1:] if given and given[0].role == "system" else given
    for number, turn in enumerate(spoken, start=1):
        expected = "user" if number % 2 else "assistant"
        if turn.role != expected:
            raise row.error(
                f"turn {number} is by the {turn.role}, not by the {expected}",
                "user and assistant speak in turn, the user first; a system turn stands in front of them",
            )
    if not spoken or len(spoken) % 2:
        raise row.error("the conversation does not end with an answer of the assistant")
    for number, turn in enumerate(spoken, start=1):
        if turn.role == "assistant":
            unmarked(turn.text, f"turn {number}, an answer,", row)
    unified = tuple(Turn(turn.role, _MARK.sub(MEDIA, turn.text)) for turn in given)
    marks = sum(turn.text.count(MEDIA) for turn in unified)
    if marks not in (0, media):
        raise row.error(
            f"the text has {marks} media mark(s), the sample {media} clip(s)",
            f"write one {MEDIA} per clip, or none to put all of them in front",
        )
    return unified


def unmarked(text: str, what: str, row: Row) -> str:
    """Return what a model is to say, which holds no clip.

    Raises:
        FormatError: If an image or video mark stands in it; `what` names the text.
    """
    if found := _MARK.search(text):
        raise row.error(
            f"{what} holds a {found[0]} mark, where no clip can stand",
            "move the mark into the question, or write the word in another way",
        )
    return text


def in_mark_order(turns: Iterable[Turn], images: Sequence[T], videos: Sequence[T], row: Row) -> list[T]:
    """Order images and videos, which the file lists apart, as their marks stand in the text.

    With only one of the two lists the marks' names do not matter, and the list's order is kept.

    Raises:
        FormatError: If both lists are given and the marks of a kind are not as many as its entries.
    """
    if not images or not videos:
        return [*images, *videos]
    marks = [mark for turn in turns for mark in _MARK.findall(turn.text)]
    found = marks.count(IMAGE_MARK), marks.count(VIDEO_MARK)
    if found != (len(images), len(videos)):
        raise row.error(
            f"{found[0]} {IMAGE_MARK} and {found[1]} {VIDEO_MARK} marks for {len(images)} images and "
            f"{len(videos)} videos",
            "a row with both needs one mark per image and per video",
        )
    left = {IMAGE_MARK: iter(images), VIDEO_MARK: iter(videos)}
    return [next(left[mark]) for mark in marks]
