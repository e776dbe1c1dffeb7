"""What a job of captions has done so far, line by line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.captioning.rows import CaptionRow


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


class Journal(Appended):
    """JSON lines, each a finished row, a broken clip or a cut film.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: dict[str, CaptionRow] = {}
        self.broken: dict[str, Broken] = {}
        self.cuts: dict[str, Cut] = {}
        for _, line in self.lines():
            entry = _entry(line)
            if entry is not None:
                self._remember(entry)

    def __enter__(self) -> Journal:
        return self

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
        self.write(_line(entry))
        self._remember(entry)

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self.rows, self.broken, self.cuts = {}, {}, {}

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


def _entry(found: Any) -> CaptionRow | Broken | Cut | None:
    """A line's entry; None for a line damaged by a loss of power, whose clip is captioned again."""
    try:
        if "row" in found:
            return CaptionRow.from_dict(found["row"])
        return cut_of(found["cut"]) if "cut" in found else Broken(**found["broken"])
    except (ValueError, TypeError, KeyError):
        return None


def cut_of(told: dict[str, Any]) -> Cut:
    """Read what `Cut.to_dict` gave."""
    stretches = told["stretches"]
    read = (Stretch(**{**stretch, "notes": tuple(stretch["notes"])}) for stretch in stretches)
    return Cut(told["key"], told["settings"], tuple(read))
