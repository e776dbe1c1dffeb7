"""LLaVA's labels: a JSON list (or JSON lines) of conversations between `human` and `gpt`.

A row is `{"id"?, "image" | "video": path or list of paths, "conversations": [{"from", "value"}, ...]}`, as
published with LLaVA (Liu et al. 2023, arXiv 2304.08485) and LLaVA-Video. A row without media is plain text.
`answers`, a list beside the conversation, holds further answers to its last question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from vidapt.formats._base import FileConfig, distinct, read_samples, references
from vidapt.formats._media import TINY_STILL, MediaFinder, is_plain_path
from vidapt.formats._outline import Outline, medium_named
from vidapt.formats._row import Row
from vidapt.formats._talk import conversation, in_mark_order, role_of
from vidapt.nouns import Clip, Role, Sample, Turn

_ROLES: Mapping[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}
_KEYS = frozenset({"image", "video", "conversations", "answers"})
_PLAIN = frozenset({"id", "image", "video", "conversations"})
"""Keys of rows that an index takes in at a glance."""
_SPEAKERS = ("human", "gpt")


class Finder(Protocol):
    """Finds clips by the paths of a row; `MediaFinder` is one."""

    def clip(self, given: str, row: Row) -> Clip:
        """Return the clip at a path."""
        ...


class Part:
    """Reads LLaVA's labels."""

    class Config(FileConfig):
        """Options; `media_root` is what LLaVA calls the image or video folder."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether a file whose first row has these keys is in this format."""
        return "conversations" in keys and not keys & {"images", "videos"}

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a label file, lazily.

        Raises:
            FormatError: If a row is unsound, or, at the end, if media are missing.
        """
        yield from distinct(read_samples(path, self.cfg, self.reader(path)))

    def reader(self, path: Path, *, look: bool = True) -> Callable[[Row], Sample]:
        """Return what makes samples of single rows; `look` is that of `MediaFinder`."""
        finder = MediaFinder(path, self.cfg.media_root, look=look)
        return lambda row: sample_of(row, finder)

    @staticmethod
    def outline(values: Mapping[str, Any]) -> Outline | None:
        """A row in short, if all of it is text about one medium in front; else None."""
        medium = values.get("video", values.get("image"))
        said = values.get("conversations")
        if not (isinstance(medium, str) and is_plain_path(medium) and isinstance(said, list) and said):
            return None
        if not values.keys() <= _PLAIN or ("video" in values and "image" in values):
            return None
        letters = 0
        for number, turn in enumerate(said):
            if not isinstance(turn, dict) or turn.get("from") != _SPEAKERS[number % 2]:
                return None
            text = turn.get("value")
            if not isinstance(text, str) or text.rfind("<") > 0 or not text.strip():
                return None
            if number and "<" in text:
                return None
            letters += len(text)
        if len(said) % 2:
            return None
        return Outline(medium, "", "", len(said) // 2, "", letters, medium_named(medium))


def sample_of(row: Row, finder: Finder) -> Sample:
    """The sample of a row of LLaVA's."""
    row.no_slips(_KEYS)
    spoken = [row.inner(entry, "a turn of 'conversations'") for entry in row.listed("conversations")]
    turns = [Turn(role_of(turn.text("from"), _ROLES, turn), turn.text("value")) for turn in spoken]
    given = in_mark_order(turns, row.texts("image"), row.texts("video"), row)
    media = tuple(finder.clip(path, row) for path in given)
    said = conversation(turns, len(media), row)
    others = references(row, said[-1].text)
    facts = {"accept": [said[-1].text, *others]} if others else {}
    return Sample(row.identity(), media, said, None, facts, row.where, others)


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest label file and its medium into `folder`; return the file."""
    (folder / "still.gif").write_bytes(TINY_STILL)
    path = folder / "llava.json"
    path.write_text(
        '[{"id": "0", "video": "still.gif", "conversations": [\n'
        ' {"from": "human", "value": "<video>\\nwhat colour?"}, {"from": "gpt", "value": "black."}]}]\n'
    )
    return path
