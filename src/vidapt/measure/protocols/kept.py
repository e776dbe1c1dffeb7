"""Verdicts of judges in a file beside the report: what was judged once is not judged again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.errors import FormatError
from vidapt.metrics.case_numbers import Scored, Status
from vidapt.metrics.cases import Case

VERDICTS = "verdicts.jsonl"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict.

    Attributes:
        status: Whether there is one.
        terms: What the case adds, if there is.
        shown: What a reader may want to see.
        reason: Why there is none.
        again: Whether it is for want of an answer, so that asking again may help.
        judge: Id of the judge.
    """

    status: Status
    terms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    again: bool = False
    judge: str = ""

    def of(self, case: Case) -> Scored:
        """The same, to be added up."""
        touched = frozenset(case.counts) or None
        return Scored(case.id, case.source, self.status, self.terms, case.kind, self.reason, touched)


class Verdicts(Appended):
    """JSON lines: a key of all that a verdict depends on, and the verdict. The last of a key counts.

    Args:
        path: Made if missing.

    Raises:
        TakenError: If another process has it open.
        VidaptError: If nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._found: dict[str, Judged] = {}
        self._ids: dict[str, str] = {}
        for _, line in self.lines():
            self._take(line)

    def _take(self, line: Any) -> None:
        """What a line says; one that is damaged says nothing."""
        if isinstance(line, dict) and "settings" in line:
            self._ids[str(line["settings"])] = str(line.get("judge_id", ""))
        elif isinstance(line, dict) and (found := _judged(line)) is not None:
            self._found[str(line["verdict"])] = found

    def add_from(self, path: Path) -> None:
        """Take over verdicts of another file, which is only read.

        Raises:
            FormatError: If it holds none.
        """
        own = set(self._found)
        try:
            lines = [
                json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()
            ]
        except (ValueError, RecursionError) as error:
            raise FormatError(path, f"holds no verdicts: {error}", "give a verdicts.jsonl") from error
        for line in lines:
            if not isinstance(line, dict):
                continue
            if "settings" in line:
                self.note_judge(str(line["settings"]), str(line.get("judge_id", "")))
            elif line.get("verdict") not in own and _judged(line) is not None:
                self.write(line)
                self._take(line)

    def get(self, key: str) -> Judged | None:
        """A verdict; None if it was never given."""
        return self._found.get(key)

    def keep(self, key: str, protocol: str, case: str, found: Judged) -> None:
        """Keep a verdict; it is on disk when this returns."""
        self.write({"verdict": key, "protocol": protocol, "case": case, **asdict(found)})
        self._found[key] = found

    def judge_of(self, settings: str) -> str | None:
        """Id of the judge that a file described when verdicts were given; None if it gave none here."""
        return self._ids.get(settings)

    def note_judge(self, settings: str, judge: str) -> None:
        """Note whom a file describes, so that its verdicts are found without opening it."""
        if self._ids.get(settings) != judge:
            self.write({"settings": settings, "judge_id": judge})
            self._ids[settings] = judge


def _judged(line: Mapping[str, Any]) -> Judged | None:
    """A line's verdict; None if it is damaged."""
    try:
        status = line["status"]
        if status not in ("valid", "refused", "invalid") or not isinstance(line["verdict"], str):
            return None
        terms = {str(name): (float(top), float(bottom)) for name, (top, bottom) in line["terms"].items()}
        if not all(math.isfinite(one) for pair in terms.values() for one in pair):
            return None
        shown, reason = dict(line["shown"]), str(line["reason"])
        return Judged(status, terms, shown, reason, bool(line["again"]), str(line["judge"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
