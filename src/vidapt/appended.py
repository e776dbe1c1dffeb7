"""A file that lines are added to while a job runs; whatever kills the job, whole lines stay."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidapt.files import disk_errors
from vidapt.locks import owned

_SEAL = 9
"""Bytes in front of a sealed line."""


class Appended:
    """JSON lines.

    Only one process may have it open (`locks.owned`). A line that a killed process left unfinished is cut off
    when the file is opened, so that the next one does not run into it.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as held:
            held.enter_context(owned(path))
            with disk_errors(path):
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            held.callback(os.close, self._file)
            self._end = self._cut_off()
            self._held = held.pop_all()

    def close(self) -> None:
        """Let others have it; where nothing was written, by whomever, nothing is left."""
        if not os.fstat(self._file).st_size and self.there:
            self.remove()
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, line: Any) -> tuple[int, int]:
        """Add a line; it survives the death of this process.

        Returns:
            Where it begins, in bytes, and how many it has.

        Raises:
            VidaptError: If the disk is full.
        """
        text = self._encoded(line)
        start, left = self._end, text
        with disk_errors(self.path):
            while left:
                left = left[os.write(self._file, left) :]
        self._end += len(text)
        return start, len(text)

    def lines(self) -> Iterator[tuple[tuple[int, int], Any]]:
        """All lines with their places; one that is no JSON, damaged by a loss of power, is None."""
        start = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                yield (start, len(line)), self._value(line)
                start += len(line)

    def since(self, start: int) -> bytes:
        """Whole lines from a byte on; another thread may be adding some."""
        return os.pread(self._file, self._end - start, start)

    def at(self, place: tuple[int, int]) -> Any:
        """The line at a place that `write` or `lines` gave; None if it is damaged."""
        return self._value(os.pread(self._file, place[1], place[0]))

    @property
    def there(self) -> bool:
        """Whether it is still the file of its name, so that whoever opens that finds what is added."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file))
        except OSError:
            return False

    def sync(self) -> None:
        """Wait until what was added survives a loss of power too."""
        with disk_errors(self.path):
            os.fsync(self._file)

    def clear(self) -> None:
        """Forget everything."""
        os.ftruncate(self._file, 0)
        self._end = 0

    def remove(self) -> None:
        """Delete the file; what it held is safe elsewhere."""
        self.path.unlink(missing_ok=True)

    def _cut_off(self) -> int:
        """Bytes of whole lines, beyond which there is nothing any more."""
        whole = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
        os.ftruncate(self._file, whole)
        return whole

    def _encoded(self, line: Any) -> bytes:
        return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    def _value(self, line: bytes) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return None


class Sealed(Appended):
    """JSON lines that begin with the CRC-32 of the rest, in eight hex digits: a damaged one is None."""

    def _encoded(self, line: Any) -> bytes:
        text = super()._encoded(line)
        return b"%08x %s" % (zlib.crc32(text), text)

    def _value(self, line: bytes) -> Any:
        seal, text = line[:_SEAL], line[_SEAL:]
        return super()._value(text) if seal == b"%08x " % zlib.crc32(text) else None
