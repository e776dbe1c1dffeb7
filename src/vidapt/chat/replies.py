"""Answers that were paid for, kept in a file; each is on disk before it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.chat.asked import Bound, Said


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer with what it took.

    Attributes:
        said: The answer.
        read: Tokens read, or their bound where that was not said.
        written: Tokens written, likewise.
        money: What they cost then.
    """

    said: Said
    read: int
    written: int
    money: float


@dataclass
class Spent:
    """What questions took.

    Attributes:
        money: In the currency of the prices.
        tokens: Read and written.
        calls: How many were answered.
        unsettled: How many may have been paid for without an answer; they count as their bounds.
    """

    money: float = 0.0
    tokens: int = 0
    calls: int = 0
    unsettled: int = 0


class Replies(Appended):
    """JSON lines: what was asked, and what came of it.

    Before a question is sent, a line says what it can cost at most; once it is answered, the answer is
    written, and nothing goes on until the disk has it. After a kill, questions without an answer count with
    their bound against the budget of their job, and are the only ones that may be paid for again.

    Args:
        path: Made if missing; several jobs may use it one after the other.
        job: Whose spending is added up.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path, job: str) -> None:
        super().__init__(path)
        self._job = job
        self._places: dict[str, tuple[int, int]] = {}
        self.spent = Spent()
        self._read()

    def __enter__(self) -> Replies:
        return self

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> Kept | None:
        """The answer to a question that was asked before, by any job."""
        place = self._places.get(key)
        return None if place is None else _kept(self.at(place))

    def begin(self, key: str, speaker: str, bound: Bound) -> None:
        """Note that a question is about to be sent."""
        self.write({"asked": key, "job": self._job, "teacher": speaker, **asdict(bound)})

    def drop(self, key: str, bound: Bound, *, paid: bool) -> None:
        """Note that no answer came; where it may have been paid for, it counts as its bound."""
        self.write({"failed": key, "job": self._job, "paid": paid})
        if paid:
            self._count(bound.money, bound.read + bound.written, unsettled=1)

    def keep(self, key: str, kept: Kept) -> None:
        """Keep an answer; it is on disk when this returns."""
        line = {"reply": key, "job": self._job, **asdict(kept)}
        place = self.write(line)
        self.sync()
        self._places[key] = place
        self._count(kept.money, kept.read + kept.written, calls=1)

    def _count(self, money: float, tokens: int, *, calls: int = 0, unsettled: int = 0) -> None:
        self.spent.money += money
        self.spent.tokens += tokens
        self.spent.calls += calls
        self.spent.unsettled += unsettled

    def _read(self) -> None:
        open_: dict[str, tuple[float, int]] = {}
        times: Counter[str] = Counter()
        for place, line in self.lines():
            if not isinstance(line, dict):
                continue
            mine = line.get("job") == self._job
            try:
                if "reply" in line:
                    self._answered(line, place, mine=mine)
                    times[line["reply"]] -= mine
                elif mine and "asked" in line:
                    open_[line["asked"]] = (float(line["money"]), int(line["read"]) + int(line["written"]))
                    times[line["asked"]] += 1
                elif mine and "failed" in line:
                    times[line["failed"]] -= 1
                    if line["paid"] and line["failed"] in open_:
                        self._count(*open_[line["failed"]], unsettled=1)
            except (KeyError, TypeError, ValueError):
                continue  # a damaged line costs what it says
        for key, count in times.items():
            for _ in range(max(0, count)):
                self._count(*open_[key], unsettled=1)

    def _answered(self, line: dict[str, Any], place: tuple[int, int], *, mine: bool) -> None:
        kept = _kept(line)
        if kept is None:
            raise ValueError("no answer")
        self._places[line["reply"]] = place
        if mine:
            self._count(kept.money, kept.read + kept.written, calls=1)


def _kept(line: Any) -> Kept | None:
    """A line's answer; None if it is damaged."""
    try:
        return Kept(Said(**line["said"]), int(line["read"]), int(line["written"]), float(line["money"]))
    except (KeyError, TypeError, ValueError):
        return None
