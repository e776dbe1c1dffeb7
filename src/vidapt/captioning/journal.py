"""A file that rows are added to while a job runs; whatever kills the job, whole lines stay."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vidapt.captioning.rows import CaptionRow
from vidapt.files import disk_errors
from vidapt.locks import owned


@dataclass(frozen=True, slots=True)
class Broken:
    """A clip that has no caption.

    Attributes:
        key: As its row would have had.
        clip: Path below the captioned folder.
        reason: What is wrong with it.
        settings: As its row would have had.
    """

    key: str
    clip: str
    reason: str
    settings: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a film that is captioned by itself.

    Attributes:
        start_s: Where it begins, in seconds from the first frame; None, as its end, where it is the film.
        end_s: Where it ends.
        notes: What is to be told with its caption.
    """

    start_s: float | None
    end_s: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a film is cut.

    Attributes:
        key: As a row of the whole film would have.
        settings: As its rows will have.
        stretches: In their order.
    """

    key: str
    settings: str
    stretches: tuple[Stretch, ...]


class Journal:
    """JSON lines, each a finished row, a broken clip or a cut film.

    Only one process may have it open (`locks.owned`). A line that a killed process left unfinished is cut off
    when the journal is opened, so that the next one does not run into it.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, CaptionRow] = {}
        self.broken: dict[str, Broken] = {}
        self.cuts: dict[str, Cut] = {}
        with ExitStack() as held:
            held.enter_context(owned(path))
            with disk_errors(path):
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            held.callback(os.close, self._file)
            self._read()
            self._held = held.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def __contains__(self, key: str) -> bool:
        return key in self.rows or key in self.broken

    @property
    def settings(self) -> set[str]:
        """Those of all jobs that something is here of."""
        of_clips = {row.settings for row in self.rows.values()} | {
            one.settings for one in self.broken.values()
        }
        return of_clips | {one.settings for one in self.cuts.values()}

    def add(self, entry: CaptionRow | Broken | Cut) -> None:
        """Add one line; it survives the death of this process.

        Raises:
            VidaptError: If the disk is full.
        """
        line = json.dumps(_line(entry), ensure_ascii=False).encode() + b"\n"
        with disk_errors(self.path):
            while line:
                line = line[os.write(self._file, line) :]
        self._remember(entry)

    def sync(self) -> None:
        """Wait until what was added survives a loss of power too."""
        with disk_errors(self.path):
            os.fsync(self._file)

    def clear(self) -> None:
        """Forget everything."""
        os.ftruncate(self._file, 0)
        self.rows, self.broken, self.cuts = {}, {}, {}

    def remove(self) -> None:
        """Delete the file; what it held is safe elsewhere."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        whole = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                entry = _entry(line)
                if entry is not None:
                    self._remember(entry)
        os.ftruncate(self._file, whole)

    def _remember(self, entry: CaptionRow | Broken | Cut) -> None:
        if isinstance(entry, Broken):
            self.broken[entry.key] = entry
        elif isinstance(entry, Cut):
            self.cuts[entry.key] = entry
        else:
            self.rows[entry.key] = entry
            self.broken.pop(entry.key, None)  # it was given another chance


def _line(entry: CaptionRow | Broken | Cut) -> dict[str, Any]:
    if isinstance(entry, CaptionRow):
        return {"row": entry.to_dict()}
    return {"broken" if isinstance(entry, Broken) else "cut": asdict(entry)}


def _entry(line: bytes) -> CaptionRow | Broken | Cut | None:
    """A line's entry; None for a line damaged by a loss of power, whose clip is captioned again."""
    try:
        found = json.loads(line)
        if "row" in found:
            return CaptionRow.from_dict(found["row"])
        return _cut(**found["cut"]) if "cut" in found else Broken(**found["broken"])
    except (ValueError, TypeError, KeyError):
        return None


def _cut(key: str, settings: str, stretches: list[dict[str, Any]]) -> Cut:
    read = (Stretch(**{**stretch, "notes": tuple(stretch["notes"])}) for stretch in stretches)
    return Cut(key, settings, tuple(read))
