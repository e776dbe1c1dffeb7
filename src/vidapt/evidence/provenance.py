"""What teachers wrote down of labels: their clauses, and in how many voices each stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidapt.labelling.sentences import sentences
from vidapt.teaching.agree import alike
from vidapt.teaching.rows import LabelRow, read_rows


@dataclass(frozen=True)
class Provenance:
    """By the ids of labels.

    Attributes:
        parts: Clauses as the writer divided the text.
        votes: Of each of these, the share of voices that state all of its facts; None where it names none.
        voices: What each of several voices said of the clip, in sentences.
    """

    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    votes: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    voices: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)

    def agreement(self, sample: str, number: int, claims: int, text: str) -> float | None:
        """Share of the voices in which a claim stands; None where there was one voice.

        Args:
            sample: Id of the label.
            number: Of the claim in its text.
            claims: How many the text has.
            text: The claim's words.
        """
        votes = self.votes.get(sample, ())
        if len(votes) == claims:
            return votes[number]
        voices = self.voices.get(sample, ())
        if len(voices) < 2:
            return None
        words = text.strip(" ,;.!?\n")
        return sum(any(alike(words, one) for one in said) for said in voices) / len(voices)


def read_provenance(files: Sequence[Path]) -> Provenance:
    """Read files of provenance; those that are not there are left out.

    Raises:
        FormatError: If one holds anything else.
    """
    parts: dict[str, list[str]] = {}
    votes: dict[str, list[float | None]] = {}
    voices: dict[str, list[list[str]]] = {}
    for file in files:
        for row in read_rows(file):
            shares = _shares(row)
            said = [sentences(str(one.get("text", ""))) for one in row.voices] if not row.facts else []
            for name, label in _labels(row):
                pieces = [one for one in label.get("parts") or [] if isinstance(one, dict)]
                if pieces:
                    parts[name] = [str(one.get("text", "")) for one in pieces]
                    votes[name] = [_votes(one, shares) for one in pieces]
                elif len(said) > 1:
                    voices[name] = said
    return Provenance(parts, votes, voices)


def _labels(row: LabelRow) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((str(label.get("id", "")), label) for label in row.labels)


def _shares(row: LabelRow) -> dict[str, float]:
    """Of each fact, the share of voices that state it; none where there was one voice."""
    several = [one for one in row.facts if int(one.get("of") or 1) > 1]
    return {str(one.get("id")): int(one.get("votes") or 0) / int(one["of"]) for one in several}


def _votes(part: Mapping[str, Any], shares: Mapping[str, float]) -> float | None:
    known = [shares[one] for one in map(str, part.get("facts") or []) if one in shares]
    return min(known, default=None)
