"""One file of captions: a store in a hidden folder beside it, which ends with the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidapt.captioning.rows import check_target
from vidapt.captioning.store.stores import LocalStore
from vidapt.errors import ConfigError
from vidapt.files import exists, write_json

_NOTE = "file.json"

_LONGEST_NAME = 200
"""Bytes; a file system takes 255, and while a file is written its name is longer."""


class FileStore(LocalStore):
    """A store whose jobs end with one file of what is captioned, and one of what is not.

    The folder notes which job wrote the file last, and how large and of when it was then: captions of another
    kind, and a file that somebody else wrote or changed, are not replaced unasked.

    Args:
        file: `.jsonl` or `.parquet`; where it is a link, the file it leads to.
        overwrite: Replace whatever is there.
    """

    def __init__(self, file: Path, *, overwrite: bool = False) -> None:
        # Under one name, whichever links lead there: a file has one folder of jobs.
        self.file = Path(os.path.realpath(file))
        super().__init__(state_of(self.file))
        self.place = self.result = self.file
        self._overwrite = overwrite

    @property
    def quarantine(self) -> Path:
        """The file that says why clips have no caption."""
        return self.file.with_name(f"{self.file.name}.quarantine.jsonl")

    def check(self) -> None:
        """Refuse a file that cannot be written, or that is none of this store's.

        Raises:
            ConfigError: If it is such a one.
            VidaptError: If nothing can be written there.
        """
        check_target(self.file, self.quarantine)
        _check_name(self.quarantine)
        super().check()
        if self._is_kept():
            self._own_note()
        elif not self._overwrite and exists(self.quarantine) and not exists(self._out):
            raise ConfigError(
                self.quarantine,
                "is there already, and would be replaced by what cannot be captioned",
                "move it away, write to another file, or --overwrite it",
            )

    def accept(self, request: str) -> None:
        """Refuse to replace captions of another kind, or a file that was changed since.

        Raises:
            ConfigError: If the file holds such.
        """
        if not self._is_kept():
            return
        note = self._own_note()
        if note.get("request") != request:
            raise ConfigError(
                self.file,
                f"holds other captions{self._asked(note)}",
                f"write to another file, or --overwrite it: its rows are kept in {self._out.name}",
            )
        # A process that was killed as it put the file in place left no word of how it is.
        if "size" in note and _state(self.file) != {name: note.get(name) for name in _state(self.file)}:
            raise ConfigError(
                self.file,
                "was changed since these captions were written",
                "write to another file, or --overwrite it",
            )

    @contextmanager
    def placing(self, request: str) -> Iterator[None]:
        """Note who wrote the file, before and after it is put in place.

        Raises:
            ConfigError: If it holds what is not to be replaced.
        """
        self.accept(request)
        write_json(self._out / _NOTE, {"request": request})
        yield
        write_json(self._out / _NOTE, {"request": request, **_state(self.file)})

    def _is_kept(self) -> bool:
        return not self._overwrite and exists(self.file)

    def _own_note(self) -> dict[str, Any]:
        """What was noted as the file was written.

        Raises:
            ConfigError: If nothing was: somebody else wrote it.
        """
        try:
            found = json.loads((self._out / _NOTE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise ConfigError(
                self.file,
                f"is there already, and was not written from {self._out.name} beside it",
                "write to another file, or --overwrite it",
            )
        return found

    def _asked(self, note: dict[str, Any]) -> str:
        """Of which model, asked what, if the job is still there."""
        asked = next((job.plan.asked for job in self.jobs() if job.plan.request == note.get("request")), None)
        if asked is None:
            return ""
        questions = ", ".join(repr(one) for one in asked.get("prompts", ()))
        return f": by {asked.get('model')} {asked.get('model_hash')}, asked {questions}, or of other clips"


def _check_name(longest: Path) -> None:
    """Refuse a name that would be found to be too long once all is captioned.

    Args:
        longest: Of the files that are written, the one with the longest name.
    """
    letters = len(os.fsencode(longest.name))
    if letters > _LONGEST_NAME:
        raise ConfigError(
            longest, f"its name has {letters} bytes, {_LONGEST_NAME} can be", "give a shorter one"
        )


def state_of(file: Path) -> Path:
    """The folder of the jobs that end with a file."""
    return file.with_name(f".{file.name}.vidapt")


def _state(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
