"""Rows of a JSON list or of JSON lines, each with the line it begins on.

A JSON list is read as text once, up to a stated size, and decoded one element at a time; JSON lines are
read one line at a time; either may be compressed by gzip. Label files come from anywhere, so size, nesting,
encoding and doubled keys are checked here, where the line is still known.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from vidapt.errors import FormatError
from vidapt.formats._parquet import PARQUET, parquet_rows

MAX_ROW_BYTES = 4 << 20
"""Of one row as text. Decoded, it can take fifty times as much; the longest conversations have a tenth."""

_FIRST_BYTES = 4 << 10
"""Of a list's row, tried first: most are shorter, and what is tried is copied."""

_CUT = 16
"""Letters at the end of what is cut off, within which it looks broken: half an escape, or half a word."""

_SHORTER = "raise max_bytes, or turn the list into JSON lines, which are read one by one"
_BLANK = re.compile(r"[ \t\r\n]*")
ZIPPED = ".gz"
"""What stands behind the suffix of a file that is compressed."""

_MOST_BLANK = 1 << 20
"""Bytes in front of the first row."""

BOM = b"\xef\xbb\xbf"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key given twice (json would silently keep the last)."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = Counter(keys).most_common(1)[0][0]
        raise ValueError(f"the key {doubled!r} is given twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def json_rows(path: Path, max_bytes: int) -> Iterator[tuple[int, Any]]:
    """Yield `(line, value)` of every element of a JSON list, or of every line of JSON lines.

    Which of the two the file is follows from its first character. Blank lines are skipped.

    Args:
        path: The label file, UTF-8. No row is longer than `MAX_ROW_BYTES`.
        max_bytes: Largest JSON list read, since a list is held in memory as text.

    Raises:
        FormatError: If the file is missing, empty, too large, not UTF-8 or not JSON; line and column are
            named.
    """
    if path.suffix.lower() == PARQUET:
        yield from parquet_rows(path)
        return
    first = first_character(path)
    if not first:
        raise FormatError(f"{path}:1", "the file holds no rows")
    yield from _listed(path, max_bytes) if first == b"[" else _lines(path)


def each_value(path: Path, max_bytes: int) -> Iterator[tuple[int, Any]]:
    """The same as `json_rows`; the value of a line that is unsound is the error that tells so.

    Raises:
        FormatError: If the file cannot be read, or is a list that is broken.
    """
    tells_lines = path.suffix.lower() != PARQUET and first_character(path) not in (b"", b"[")
    return lines_of(path) if tells_lines else json_rows(path, max_bytes)


def json_document(path: Path, max_bytes: int, remedy: str) -> Any:
    """Return the one JSON value a file holds.

    Raises:
        FormatError: If it cannot be read, is too large (which `remedy` helps against), not UTF-8 or not JSON;
            line and column are named.
    """
    cursor = _Cursor(read_utf8(path, max_bytes, remedy), path)
    cursor.skip_blank()
    value = cursor.value()
    if cursor.peek():
        raise cursor.expected("the end of the file")
    return value


def read_utf8(path: Path, max_bytes: int, remedy: str) -> str:
    """Return the text of a file, without a byte order mark.

    Args:
        path: The file.
        max_bytes: Largest file read.
        remedy: What to do about a larger one.

    Raises:
        FormatError: If it cannot be read, is larger than `max_bytes` or not UTF-8.
    """
    with _told(path):
        size = path.stat().st_size
        raw = b"" if size > max_bytes else _content(path, max_bytes)
    if max(size, len(raw)) > max_bytes:
        size = max(size, len(raw))
        raise FormatError(path, f"{size:,} bytes, more than the {max_bytes:,} read at once", remedy)
    return _decode(raw.removeprefix(BOM), path, 1)


def _opened(path: Path) -> BinaryIO:
    """A file, decompressed as it is read where its name says so."""
    if path.suffix.lower() == ZIPPED:
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what is wrong with a file while it is read."""
    try:
        yield
    except FileNotFoundError:
        raise FormatError(path, "there is no such file", "check the path of the label file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(path, f"cannot be decompressed: {error}", "copy the file again") from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error


def _content(path: Path, max_bytes: int) -> bytes:
    """All of a file; of a compressed one that is larger than it may be, so much as shows it."""
    if path.suffix.lower() != ZIPPED:
        return path.read_bytes()
    with _opened(path) as file:
        pieces, size = list[bytes](), 0
        while size <= max_bytes and (piece := file.read(_MOST_BLANK)):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def first_character(path: Path) -> bytes:
    """The first byte of a label file that is not blank: it tells a list from lines. Empty if there is none.

    Raises:
        FormatError: If the file cannot be read.
    """
    with _told(path), _opened(path) as file:
        head = file.read(_MOST_BLANK)
        return head.removeprefix(BOM).lstrip()[:1]


def _decode(raw: bytes, path: Path, line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        raise FormatError(
            f"{path}:{line}", f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None


def _broken(where: str, error: ValueError | RecursionError, column: int, *, cut: bool = False) -> FormatError:
    if isinstance(error, json.JSONDecodeError):
        found = f"broken JSON at column {column}: {error.msg}"
    elif isinstance(error, RecursionError):
        found = "broken JSON: nested too deeply"
    else:
        found = f"broken JSON: {error}"
    # The last line of a file that was written whole ends it, or is at least a row.
    remedy = "the file seems to be cut off here; copy it again" if cut else "correct this row, or remove it"
    return FormatError(where, found, remedy)


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield `(line, value)` of JSON lines; the value of an unsound one is the error that tells so.

    Raises:
        FormatError: If the file cannot be read.
    """
    with _told(path), _opened(path) as file:
        number = 0
        while raw := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            try:
                if len(raw) > MAX_ROW_BYTES:
                    _skip_line(file, raw)
                    raise too_long(f"{path}:{number}")
                value = line_value(raw.removeprefix(BOM) if number == 1 else raw, path, number)
            except FormatError as error:
                value = error
            if value is not None:
                yield number, value


def _skip_line(file: BinaryIO, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(MAX_ROW_BYTES)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, value in lines_of(path):
        if isinstance(value, FormatError):
            raise value
        yield number, value


def too_long(where: str) -> FormatError:
    """What is said of a row beyond `MAX_ROW_BYTES`."""
    return FormatError(
        where,
        f"a row of more than {MAX_ROW_BYTES:,} bytes",
        "give media as paths, not inside the row; give one row per conversation",
    )


def line_value(raw: bytes, path: Path, number: int) -> Any:
    """The value of a line; None of a blank one, and of no other, since a row that is null is refused.

    Raises:
        FormatError: If it is not UTF-8 or not JSON.
    """
    where, text = f"{path}:{number}", _decode(raw, path, number).strip(" \t\r\n")
    if not text:
        return None
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        column = error.pos + 1 if isinstance(error, json.JSONDecodeError) else 1
        raise _broken(where, error, column, cut=not raw.endswith(b"\n")) from None
    if value is None:
        raise FormatError(where, "the row is null, not an object", "a row is written {...}")
    if end < len(text):
        raise FormatError(where, f"broken JSON at column {end + 1}: more follows the row", "one row per line")
    return value


def _listed(path: Path, max_bytes: int) -> Iterator[tuple[int, Any]]:
    cursor = _Cursor(read_utf8(path, max_bytes, _SHORTER), path)
    cursor.skip("[")
    if cursor.peek() == "]":
        raise FormatError(cursor.where, "the list is empty")
    while True:
        cursor.skip_blank()
        yield cursor.line, cursor.value()
        mark = cursor.peek()
        if mark == "]":
            break
        if mark != ",":
            raise cursor.expected("',' or ']' after the row")
        cursor.skip(",")
    cursor.skip("]")
    if cursor.peek():
        raise cursor.expected("the end of the file after the list")


class _Cursor:
    """A place in a JSON text that knows its line."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path
        self._place = 0
        self.line = 1

    @property
    def where(self) -> str:
        return f"{self._path}:{self.line}"

    @property
    def _column(self) -> int:
        return self._place - self._text.rfind("\n", 0, self._place)

    def _move(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def skip_blank(self) -> None:
        blank = _BLANK.match(self._text, self._place)
        self._move(blank.end() if blank else self._place)

    def peek(self) -> str:
        """The next character that is not blank; empty at the end of the text."""
        self.skip_blank()
        return self._text[self._place : self._place + 1]

    def skip(self, mark: str) -> None:
        self.skip_blank()
        self._move(self._place + len(mark))

    def expected(self, what: str) -> FormatError:
        found = self._text[self._place : self._place + 1]
        shown = repr(found) if found else "the end of the file"
        return FormatError(
            self.where,
            f"broken JSON at column {self._column}: found {shown} instead of {what}",
            "correct this row, or remove it",
        )

    def value(self) -> Any:
        """Decode the element that begins here and step behind it."""
        size = _FIRST_BYTES
        while True:
            piece = self._text[self._place : self._place + size]
            whole = self._place + size >= len(self._text)
            try:
                value, length = _DECODER.raw_decode(piece)
            except (ValueError, RecursionError) as error:
                # What is cut off looks broken where it ends, and a text that is not closed where it begins.
                if not whole and size < MAX_ROW_BYTES:
                    size = min(size * 16, MAX_ROW_BYTES)
                    continue
                raise self._broken_row(error, piece, whole=whole) from None
            if length == len(piece) and not whole and size < MAX_ROW_BYTES:
                size = min(size * 16, MAX_ROW_BYTES)  # of a number, more may follow
                continue
            self._move(self._place + length)
            return value

    def _broken_row(self, error: ValueError | RecursionError, piece: str, *, whole: bool) -> FormatError:
        if isinstance(error, json.JSONDecodeError):
            cut = error.pos >= len(piece) - _CUT or error.msg.startswith("Unterminated string")
            if cut and not whole:
                return too_long(self.where)
            self._move(self._place + error.pos)
        return _broken(self.where, error, self._column)
