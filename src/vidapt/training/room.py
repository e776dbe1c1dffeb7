"""How many clips fit into memory together: found where there are too many, and kept for who resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vidapt.errors import CheckpointError
from vidapt.files import write_json

FOUND = "memory.json"
"""Where a stage keeps what it found, in the folder of its work."""


class Room:
    """How many of a step's clips are computed together.

    What was found holds from its own step on: a resumed run computes each step in the same portions as the
    run that was interrupted, and so to the same bits.

    Args:
        folder: Of the stage's work.
        most: What the recipe says; None takes all together.

    Raises:
        CheckpointError: If what was found is damaged.
    """

    def __init__(self, folder: Path, most: int | None) -> None:
        self._file, self._most = folder / FOUND, most
        self._found: list[tuple[int, int]] = _read(self._file)

    def at_once(self, step: int) -> int | None:
        """How many at a step, counted from 0."""
        sizes = [size for since, size in self._found if since <= step]
        return min([*sizes, *([] if self._most is None else [self._most])], default=None)

    def halve(self, step: int, size: int, tell: Callable[[str], None]) -> None:
        """From a step on, compute half as many together as did not fit."""
        half = (size + 1) // 2
        self._found.append((step, half))
        write_json(self._file, {"found": self._found})
        tell(f"step {step + 1}: {size} clips do not fit into memory together; {half} at once from here on")


def _read(file: Path) -> list[tuple[int, int]]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))["found"]
        return [(int(step), int(size)) for step, size in kept]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CheckpointError(file, f"is damaged: {error}", "delete it: it is found anew") from error
