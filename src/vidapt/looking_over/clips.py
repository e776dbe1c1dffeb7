"""What the clips are, as their files say, and which of them a browser may be given."""

from __future__ import annotations

from fastapi import HTTPException

from vidapt import nouns
from vidapt.errors import BrokenClip
from vidapt.looking_over.book import Book
from vidapt.looking_over.shapes import Clip
from vidapt.video import probe

PLAYED = {
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/mp4",
    ".mp4": "video/mp4",
    ".ogv": "video/ogg",
    ".webm": "video/webm",
}
"""Files that a browser may play; whether it does is seen when it tries."""


class Footage:
    """The clips of a book; each is asked what it is once, as long as its file stays as it is."""

    def __init__(self, book: Book) -> None:
        self._clips = book.clips
        self._known: dict[tuple[int, int, int], Clip] = {}

    def clip(self, number: int) -> nouns.Clip:
        """A clip by its number; there is no other way to a file.

        Raises:
            HTTPException: If there is none.
        """
        if not 0 <= number < len(self._clips):
            raise HTTPException(404, "no such clip")
        return self._clips[number]

    def about(self, number: int) -> Clip:
        """What a clip is, or why it cannot be shown."""
        clip = self.clip(number)
        try:
            status = clip.path.stat()
            key = (number, status.st_size, status.st_mtime_ns)
            return self._known.get(key) or self._known.setdefault(key, _described(clip))
        except BrokenClip as error:
            return Clip(reason=error.reason)
        except (OSError, ValueError):
            return Clip(reason="the file is not there")


def _described(clip: nouns.Clip) -> Clip:
    found = probe(clip.path, rate=clip.rate)
    return Clip(
        kind=found.kind,
        duration_s=found.duration_s,
        rate=found.rate,
        width=found.width,
        height=found.height,
        codec=found.codec,
        plays=clip.path.suffix.lower() in PLAYED and clip.path.is_file(),
    )
