"""What an index keeps of rows, as columns of numbers: a label file may have tens of millions of rows."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from vidapt.formats._outline import TEXT, Outline

Column = np.ndarray


@dataclass(frozen=True)
class Columns:
    """Rows in short; all columns but the last have one number a row.

    Attributes:
        clip: Number of the footage it is about, in order of first appearance.
        head: 64 bits of `Outline.head`; 0 where that is empty.
        first: Likewise of `Outline.first`.
        questions: Into how many it can be taken apart.
        kind: Index into `kinds`.
        letters: Of all texts.
        medium: `Outline.medium`.
        about: 64 bits of `Outline.about`, one number a clip.
        kinds: Names of question types; the first is empty.
    """

    clip: Column
    head: Column
    first: Column
    questions: Column
    kind: Column
    letters: Column
    medium: Column
    about: Column
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.clip)

    def save(self, folder: Path) -> None:
        """Write every column into a folder."""
        for name in _NAMES:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path, kinds: tuple[str, ...]) -> Columns:
        """Columns of a folder, mapped into memory and not read."""
        mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES}
        return cls(**mapped, kinds=kinds)


_NAMES = ("clip", "head", "first", "questions", "kind", "letters", "medium", "about")


_MOST = 65_535


@dataclass
class Gathered:
    """Columns while rows are read, in thirty bytes a row.

    Attributes:
        place: Tells text alone of this file from that of others.
    """

    place: str
    abouts: array[int] = field(default_factory=lambda: array("Q"))
    heads: array[int] = field(default_factory=lambda: array("Q"))
    firsts: array[int] = field(default_factory=lambda: array("Q"))
    questions: array[int] = field(default_factory=lambda: array("H"))
    kinds: array[int] = field(default_factory=lambda: array("H"))
    letters: array[int] = field(default_factory=lambda: array("i"))
    mediums: array[int] = field(default_factory=lambda: array("B"))
    names: dict[str, int] = field(default_factory=lambda: {"": 0})
    _last: tuple[str, int] = ("", 0)

    def add(self, one: Outline, root: str = "") -> None:
        """Take in a row. Text alone is about nothing, so that every row of it stands alone.

        Args:
            one: The row in short.
            root: Where its clips lie whose paths are relative, with a slash behind it.
        """
        about, head, first, questions, kind, letters, medium = one
        if medium == TEXT:
            number = hashed(f"{self.place}\0{len(self.abouts)}")
        elif about == self._last[0]:
            number = self._last[1]
        else:
            number = hashed(about if about[:1] == "/" else root + about)
            self._last = (about, number)
        self.abouts.append(number)
        self.heads.append(hashed(head) if head else 0)
        self.firsts.append(hashed(first) if first else 0)
        self.questions.append(questions if questions < _MOST else _MOST)
        self.kinds.append(self._kind(kind))
        self.letters.append(letters)
        self.mediums.append(medium)

    def _kind(self, name: str) -> int:
        if name not in self.names and len(self.names) < _MOST:
            self.names[name] = len(self.names)
        return self.names.get(name, _MOST)

    def columns(self) -> Columns:
        """What was gathered; this object is empty then, since there is no room for two of it."""
        about, clip = numbered(_taken(self.abouts, np.uint64))
        return Columns(
            clip=clip,
            head=_taken(self.heads, np.uint64),
            first=_taken(self.firsts, np.uint64),
            questions=_taken(self.questions, np.uint16),
            kind=_taken(self.kinds, np.uint16),
            letters=_taken(self.letters, np.int32),
            medium=_taken(self.mediums, np.uint8),
            about=about,
            kinds=tuple(self.names),
        )


def hashed(text: str) -> int:
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def numbered(keys: Column) -> tuple[Column, Column]:
    """Different keys in order of first appearance, and for each key its number among them.

    Rows about one clip mostly stand together, so that runs of equal keys are taken as one.
    """
    if not len(keys):
        return keys, np.zeros(0, np.int32)
    begins = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    unique, at, inverse = np.unique(keys[begins], return_index=True, return_inverse=True)
    order = np.argsort(at, kind="stable")
    rank = np.empty(len(unique), np.int32)
    rank[order] = np.arange(len(unique), dtype=np.int32)
    lengths = np.diff(np.append(begins, len(keys)))
    return unique[order], np.repeat(rank[inverse], lengths)


def _taken(numbers: array[int], dtype: type[np.generic]) -> Column:
    """An array's numbers without a copy."""
    return np.frombuffer(numbers, dtype=dtype) if len(numbers) else np.zeros(0, dtype)
