"""What of a row decides how it is grouped, drawn and ordered: all that an index of labels keeps of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.video.suffixes import PICTURE_SUFFIXES

TEXT, IMAGE, VIDEO = 0, 1, 2
MEDIUMS = ("text", "image", "video")


class Outline(NamedTuple):
    """A row in short.

    Attributes:
        about: Which footage it is about; empty where it is text alone.
        head: What is read up to the last clip; empty where that is clips alone.
        first: The same where every turn's clips are put in front of its words.
        questions: Into how many it can be taken apart.
        kind: Its question type, empty if it says none.
        letters: Of all its texts.
        medium: `TEXT`, `IMAGE` or `VIDEO`.
    """

    about: str
    head: str
    first: str
    questions: int
    kind: str
    letters: int
    medium: int


def outline_of(sample: Sample) -> Outline:
    """A sample in short."""
    return Outline(
        "\n".join(about(str(clip.path), clip.start_s, clip.end_s) for clip in sample.media),
        head_of(sample, clips_first=False),
        head_of(sample, clips_first=True),
        sum(turn.role == "user" for turn in sample.turns) if len(sample.media) == 1 else 1,
        str(sample.facts.get("type") or ""),
        sum(len(turn.text) for turn in sample.turns),
        medium_of(sample.media),
    )


def about(path: str, start_s: float, end_s: float | None) -> str:
    """Which footage a path and a stretch are."""
    return path if not start_s and end_s is None else f"{path}\0{float(start_s)}\0{end_s}"


def medium_of(clips: Iterable[Clip]) -> int:
    """Kind of the clips, by their names alone: video if one of them is."""
    return max((medium_named(clip.path.name) for clip in clips), default=TEXT)


def medium_named(name: str) -> int:
    """Kind of a file by its name; what has none of the suffixes of pictures counts as video."""
    return IMAGE if PurePath(name).suffix.lower() in PICTURE_SUFFIXES else VIDEO


def head_of(sample: Sample, *, clips_first: bool) -> str:
    """What is read up to and including the last clip; empty where no word stands before it.

    Samples about equal clips with equal heads have one prefix, whatever a prompt makes of it.

    Args:
        sample: Any.
        clips_first: Whether the prompt puts each turn's clips in front of its words.
    """
    if not sample.media:
        return ""
    marked = [index for index, turn in enumerate(sample.turns) if MEDIA in turn.text]
    roles = [turn.role for turn in sample.turns]
    last = marked[-1] if marked else roles.index("user") if "user" in roles else 0
    before = [f"{turn.role}:{_said(turn, clips_first=clips_first)}" for turn in sample.turns[:last]]
    lead = _said(sample.turns[last], clips_first=clips_first).rpartition(MEDIA)[0] if marked else ""
    return "\0".join([*before, lead]) if before or lead.replace(MEDIA, "") else ""


def _said(turn: Turn, *, clips_first: bool) -> str:
    if not clips_first or MEDIA not in turn.text:
        return turn.text
    return MEDIA * turn.text.count(MEDIA) + turn.text.replace(MEDIA, "").strip()
