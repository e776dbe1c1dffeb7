"""Who says whether a text's claims are true."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from vidapt.errors import FormatError
from vidapt.metrics.claims import ClaimCounts
from vidapt.nouns import Clip
from vidapt.worlds.billiards import Record, judge, load_records

Mark = Literal["true", "false", "mixed", "unread"]
"""A sentence whose claims are all true, all false or some of each, or that holds none the judge can read."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")

EVENTS, ABOUT = "events.jsonl", "dataset.json"


class ClaimJudge(Protocol):
    """Knows the truth about clips."""

    def __call__(self, clip: Clip, text: str) -> ClaimCounts:
        """Count what `text` claims about `clip`.

        Raises:
            VidaptError: If nothing is known about the clip.
        """


def marked(judge: ClaimJudge, clip: Clip, text: str) -> tuple[tuple[str, Mark], ...]:
    """Split a text into sentences and say of each what its claims amount to."""
    sentences = (sentence.strip() for sentence in _SENTENCE_END.split(text))
    return tuple((sentence, _mark(judge(clip, sentence))) for sentence in sentences if sentence)


def _mark(counts: ClaimCounts) -> Mark:
    if counts.contradicted:
        return "mixed" if counts.supported else "false"
    return "true" if counts.supported else "unread"


class _BilliardsJudge:
    """Checks texts against the log of a simulated data set, whose clips are named by their numbers."""

    def __init__(self, events: Path, records: Sequence[Record]) -> None:
        self._events = events
        self._records = {f"{record.index:06d}": record for record in records}

    def __call__(self, clip: Clip, text: str) -> ClaimCounts:
        record = self._records.get(clip.path.stem)
        if record is None:
            raise FormatError(
                self._events, f"has no events of the clip {clip.path.name}", "simulate the data again"
            )
        verdict = judge(text, record)
        return ClaimCounts(
            supported=len(verdict.supported),
            contradicted=len(verdict.false),
            unparsed=len(verdict.unparsed),
            recalled=len(verdict.recalled),
            salient=len(verdict.salient),
        )


def billiards_judge(folder: Path) -> ClaimJudge | None:
    """Return a judge of texts about simulated billiards, from the log in a data set's folder.

    Args:
        folder: Where the labels lie.

    Returns:
        None if the folder holds no simulated billiards; then nothing is known of what happened in its clips.

    Raises:
        FormatError: If the log cannot be read.
    """
    events, about = folder / EVENTS, folder / ABOUT
    if not events.is_file() or not about.is_file():
        return None
    try:
        described = json.loads(about.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(about, f"is not JSON: {error}") from error
    if not isinstance(described, dict) or described.get("world") != "billiards":
        return None
    return _BilliardsJudge(events, load_records(events))
