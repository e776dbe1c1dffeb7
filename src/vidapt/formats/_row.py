"""One row of a label file: its values, where it stands, and checked access to its fields."""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import FormatError, nearest
from vidapt.formats._scan import json_rows

_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Unicode's categories of characters without a picture: spaces, line ends, NUL, zero-width marks."""


MAX_LETTERS = 1 << 20
"""Of one text; no language model reads a fifth of it at once."""

_MOST_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """An object of a label file.

    Attributes:
        values: Its keys and values as JSON gave them.
        where: `file:line` it begins on.
        name: What it is called when it has no id: the file's stem and the row's number from 1.
    """

    values: Mapping[str, Any]
    where: str
    name: str

    def error(self, found: str, remedy: str = "") -> FormatError:
        """An error that names this row's file and line."""
        return FormatError(self.where, found, remedy)

    def inner(self, value: Any, what: str) -> Row:
        """Return an object inside this row as a row of its own; `what` names it in errors."""
        if not isinstance(value, dict):
            raise self.error(f"{what} is {_shown(value)}, not an object")
        return Row(value, self.where, self.name)

    def only(self, known: Collection[str]) -> None:
        """Refuse keys that are not `known`."""
        for key in self.values:
            if key not in known:
                raise self.error(f"unknown key {key!r}", nearest(key, known))

    def no_slips(self, known: Collection[str]) -> None:
        """Refuse keys that look like one of `known` misspelt, where that one is absent.

        Files of published data sets carry all sorts of further keys, which are left alone.
        """
        absent = [key for key in known if key not in self.values]
        for key in self.values:
            if key not in known and (close := difflib.get_close_matches(key, absent, n=1, cutoff=0.8)):
                raise self.error(f"unknown key {key!r}", f"did you mean {close[0]!r}?")

    def need(self, key: str) -> Any:
        """Return the value of a key that must be there."""
        if key not in self.values:
            close = difflib.get_close_matches(key, self.values, n=1, cutoff=0.6)
            given = ", ".join(self.values) or "no keys"
            hint = f"is {close[0]!r} meant to be {key!r}?" if close else f"the row has {given}"
            raise self.error(f"the key {key!r} is missing", hint)
        return self.values[key]

    def text(self, key: str) -> str:
        """Return a text that must be there and hold something to read."""
        value = self.need(key)
        if not isinstance(value, str):
            raise self.error(f"{key!r} is {_shown(value)}, not text")
        if len(value) > MAX_LETTERS:
            raise self.error(
                f"{key!r} is a text of {len(value):,} letters", f"at most {MAX_LETTERS:,} are read"
            )
        if all(unicodedata.category(letter) in _UNSEEN for letter in value):
            found = "holds only characters that cannot be seen" if value.strip() else "is empty"
            raise self.error(f"{key!r} {found}", "fill it in, or remove the row")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.error(f"{key!r} holds half a surrogate pair, which is no character") from None
        return value

    def listed(self, key: str) -> list[Any]:
        """Return a list that must be there; it may be empty."""
        value = self.need(key)
        if not isinstance(value, list):
            raise self.error(f"{key!r} is {_shown(value)}, not a list")
        return value

    def texts(self, key: str) -> list[str]:
        """Return the texts of a key holding one text or a list of them; none if it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return []
        entries = value if isinstance(value, list) else [value]
        return [Row({key: entry}, self.where, self.name).text(key) for entry in entries]

    def seconds(self, key: str) -> float | None:
        """Return a moment in seconds, or None if it is absent or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{key!r} is {_shown(value)}, not a number of seconds")
        try:
            moment = float(value)
        except OverflowError:
            moment = math.inf
        if not math.isfinite(moment) or moment < 0:
            raise self.error(f"{key!r} is {_shown(value)}, not a moment in a clip")
        return moment

    def identity(self, key: str = "id") -> str:
        """Return the row's id (text or number), or its name if it has none."""
        value = self.values.get(key)
        if value is None:
            return self.name
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(key)


def rows(path: Path, max_bytes: int) -> Iterator[Row]:
    """Yield the rows of a JSON list or of JSON lines, lazily.

    Raises:
        FormatError: If the file cannot be read or an element is not an object.
    """
    for number, (line, value) in enumerate(json_rows(path, max_bytes), start=1):
        yield row_of(value, f"{path}:{line}", f"{path.stem}:{number}")


def each_row(values: Iterable[tuple[int, Any]], path: Path) -> Iterator[Row | FormatError]:
    """Yield rows of a file, and in the place of an unsound one what is wrong with it.

    Args:
        values: Lines and what they hold, as `each_value` gives them.
        path: The file.
    """
    for number, (line, value) in enumerate(values, start=1):
        try:
            row = row_of(value, f"{path}:{line}", f"{path.stem}:{number}")
        except FormatError as error:
            yield error
        else:
            yield row


def row_of(value: Any, where: str, name: str) -> Row:
    """Return an element of a label file as a row.

    Raises:
        FormatError: If it is no object, or one with so many keys that it is no row; or what it is itself.
    """
    if isinstance(value, FormatError):
        raise value
    if not isinstance(value, dict):
        raise FormatError(where, f"the row is {_shown(value)}, not an object", "a row is written {...}")
    if len(value) > _MOST_KEYS:
        raise FormatError(where, f"the row has {len(value):,} keys", "a row is one label")
    return Row(value, where, name)


def _shown(value: Any) -> str:
    """A value in an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
