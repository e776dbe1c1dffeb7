"""What is right: which question types are free text, and who says whether a text's claims are true."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal, Protocol

from vidapt.errors import FormatError
from vidapt.metrics.accuracy import UNTYPED
from vidapt.metrics.claims import ClaimCounts
from vidapt.metrics.text import words
from vidapt.nouns import Clip, Sample
from vidapt.worlds.billiards import Record, judge, load_records

FREE = "text"
"""Value of the fact `value` that marks a free text."""

SHORT = 5
"""Longest usual answer, in words, that is still compared as a whole when the labels do not say."""

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


def type_of(sample: Sample) -> str:
    """The question type of a sample."""
    return str(sample.facts.get("type", UNTYPED))


def free_types(samples: Sequence[Sample]) -> frozenset[str]:
    """Question types whose answers are texts of their own.

    Such are types all of whose samples say so (fact `value` is "text"), and types whose labels list no
    accepted answers and are usually longer than `SHORT` words, where equality would be an accident.
    """
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[type_of(sample)].append(sample)
    return frozenset(kind for kind, group in members.items() if _is_free(group))


def _is_free(group: Sequence[Sample]) -> bool:
    if all(sample.facts.get("value") == FREE for sample in group):
        return True
    if any("accept" in sample.facts or "value" in sample.facts for sample in group):
        return False
    return median(len(words(sample.answer)) for sample in group) > SHORT


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
