"""Where films are cut, line by line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.appended import Appended


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
    """JSON lines, each a film that was cut.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.cuts: dict[str, Cut] = {}
        for _, line in self.lines():
            found = _cut(line)
            if found is not None:
                self.cuts[found.key] = found

    def __enter__(self) -> Journal:
        return self

    def add(self, entry: Cut) -> None:
        """Add one line; it survives the death of this process.

        Raises:
            VidaptError: If the disk is full.
        """
        self.write({"cut": entry.to_dict()})
        self.cuts[entry.key] = entry


def _cut(found: Any) -> Cut | None:
    """A line's entry; None for a line damaged by a loss of power, whose film is cut again."""
    try:
        return cut_of(found["cut"])
    except (ValueError, TypeError, KeyError):
        return None


def cut_of(told: dict[str, Any]) -> Cut:
    """Read what `Cut.to_dict` gave."""
    stretches = told["stretches"]
    read = (Stretch(**{**stretch, "notes": tuple(stretch["notes"])}) for stretch in stretches)
    return Cut(told["key"], told["settings"], tuple(read))
