"""What was decided for the user, each with its reason: told once, and kept to be changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vidapt.errors import CheckpointError
from vidapt.files import write_json


@dataclass(frozen=True)
class Decision:
    """One thing that was decided.

    Attributes:
        about: What it is about; there is one decision about each thing.
        what: The decision.
        why: Its reason.
    """

    about: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what} ({self.why})"


class Decisions:
    """All decisions of a job, in the order in which they were made.

    Args:
        file: Where they are kept; those of a job that was stopped are there already.
        tell: Called with each decision that is new.

    Raises:
        CheckpointError: If the file is damaged.
    """

    def __init__(self, file: Path, tell: Callable[[str], object]) -> None:
        self._file, self._tell = file, tell
        self._made: dict[str, Decision] = {}
        if file.exists():
            try:
                kept = [Decision(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
            except (OSError, ValueError, TypeError) as error:
                raise CheckpointError(file, f"is damaged: {error}", "delete it") from error
            self._made = {one.about: one for one in kept}

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._made.values())

    def forget(self, about: str | None = None) -> None:
        """Drop a decision and all behind it, or all there are: what follows from them is decided anew."""
        names = list(self._made)
        first = 0 if about is None else names.index(about) if about in names else len(names)
        self._made = {name: self._made[name] for name in names[:first]}

    def make(self, about: str, what: str, why: str) -> None:
        """Decide something, tell it if it is new, and keep it."""
        decision = Decision(about, what, why)
        if self._made.get(about) == decision:
            return
        self._made[about] = decision
        write_json(self._file, [asdict(one) for one in self])
        self._tell(str(decision))
