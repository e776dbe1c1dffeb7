"""What is noted of a shard until all its rows are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidapt.appended import Sealed
from vidapt.captioning.journal import Cut, cut_of


class ShardJournal(Sealed):
    """What is done of a shard: a line for each row, and for each film that was cut.

    Args:
        path: Made if missing. Who has it open holds the shard.

    Raises:
        TakenError: If another process holds the shard.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.rows: dict[str, dict[str, Any]] = {}
        self.cuts: dict[str, Cut] = {}
        for _, line in self.lines():
            if line is None:
                continue  # damaged: its clip is captioned again
            if "row" in line:
                self.rows[line["row"]["clip"]] = line["row"]
            else:
                found = cut_of(line["cut"])
                self.cuts[found.key] = found

    def add(self, entry: Cut) -> None:
        """Note where a film is cut."""
        self.write({"cut": entry.to_dict()})
        self.cuts[entry.key] = entry

    def note(self, row: dict[str, Any]) -> None:
        """Note a row; it survives the death of this process."""
        self.write({"row": row})
        self.rows[row["clip"]] = row
