"""What the page is told, and what it may say, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from vidapt.cleaning.decisions import Decision
from vidapt.metrics.spans import read_stretches
from vidapt.nouns import MEDIA
from vidapt.reviewing.book import Book, Item
from vidapt.reviewing.ledger import Change, Ledger, Progress
from vidapt.reviewing.made import Clause, Made, Text
from vidapt.reviewing.predictions import Said

MOST_ASKED = 200
"""Rows that are told at once."""

_SHORT, _OTHERS = 240, 60


class Words(BaseModel):
    """One utterance."""

    role: str
    text: Text


class Decided(BaseModel):
    """What a person decided of a row; `seen` names it."""

    row: int
    verdict: str
    text: Text
    reason: Text
    by: Text
    seen: int

    @classmethod
    def of(cls, change: Change) -> Decided:
        """As the page is told."""
        one: Decision = change.decision
        return cls(
            row=change.row,
            verdict=one.verdict,
            text=one.text,
            reason=one.reason,
            by=one.by,
            seen=change.count,
        )


class Brief(BaseModel):
    """A row of the list."""

    row: int
    id: Text
    clip: int | None
    type: Text
    question: Text
    text: Text
    verdict: str
    check: Text
    decision: Decided | None


class Footage(BaseModel):
    """A clip by its number; `end_s` is None where it goes on to the end of the file."""

    clip: int
    name: Text
    start_s: float
    end_s: float | None


class Whole(Brief):
    """A row with all that is known of it; `frames`, and `spans` of its answer are seconds of the file."""

    source: Text
    reason: Text
    answer: Text
    turns: list[Words]
    references: list[Text]
    now_answer: Text | None
    clips: list[Footage]
    frames: list[float]
    spans: list[tuple[float, float]]
    made: Made
    clauses: list[Clause]
    others: list[Brief]
    predictions: list[Said]


class Start(BaseModel):
    """What the page begins with."""

    title: Text
    file: Text
    rows: int
    clips: int
    by: Text
    notes: list[Text]
    facets: dict[str, dict[str, int]]
    standing: Progress


class News(BaseModel):
    """Decisions that were made since."""

    changes: list[Decided]
    standing: Progress


class Wish(BaseModel):
    """A decision that a person makes; `seen` names the one that was last seen of the row, 0 for none."""

    row: int = Field(ge=0)
    verdict: Literal["keep", "rewrite", "drop", "undecided"]
    text: str = Field("", max_length=1 << 20)
    reason: str = Field("", max_length=10_000)
    seen: int = Field(0, ge=0)


class Clip(BaseModel):
    """What a clip is; `reason` says why it cannot be shown."""

    kind: str = ""
    duration_s: float = 0.0
    rate: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    plays: bool = False
    reason: Text = ""


def brief(number: int, book: Book, ledger: Ledger) -> Brief:
    """A row as the list shows it."""
    return Brief(**_brief(number, book, ledger))


def _brief(number: int, book: Book, ledger: Ledger) -> dict[str, Any]:
    item, change = book.items[number], ledger.of(number)
    sample = item.sample
    return {
        "row": number,
        "id": sample.id,
        "clip": item.clips[0] if item.clips else None,
        "type": str(sample.facts.get("type") or ""),
        "question": " ".join(sample.question.replace(MEDIA, " ").split())[:_SHORT],
        "text": sample.answer[:_SHORT],
        "verdict": item.verdict,
        "check": ledger.check_of(number),
        "decision": None if change is None else Decided.of(change),
    }


def whole(number: int, book: Book, ledger: Ledger) -> Whole:
    """A row with all that is known of it."""
    item = book.items[number]
    sample, origin = item.sample, item.origin
    made = origin.made if origin else Made()
    begin = sample.media[0].start_s if sample.media else 0.0
    return Whole(
        **_brief(number, book, ledger),
        source=sample.source,
        reason=item.reason,
        answer=sample.answer,
        turns=[Words(role=turn.role, text=turn.text) for turn in sample.turns],
        references=list(sample.references),
        now_answer=None if item.now is None else item.now.answer,
        clips=[
            Footage(clip=number, name=clip.id, start_s=clip.start_s, end_s=clip.end_s)
            for number, clip in zip(item.clips, sample.media, strict=True)
        ],
        frames=[begin + second for second in made.frames],
        made=made,
        clauses=list(origin.clauses) if origin else [],
        spans=[(begin + first, begin + last) for first, last in read_stretches(sample.answer)],
        others=[brief(row, book, ledger) for row in _others(number, book)[:_OTHERS]],
        predictions=_predictions(item, book),
    )


def _others(number: int, book: Book) -> list[int]:
    """Other rows of a row's clips, first those that are asked the same."""
    item = book.items[number]
    rows = dict.fromkeys(row for clip in item.clips for row in book.rows_of[clip] if row != number)
    return sorted(rows, key=lambda row: book.items[row].sample.question != item.sample.question)


def _predictions(item: Item, book: Book) -> list[Said]:
    """What models said of a row's clips, first what they were asked in the same words."""
    question = item.sample.question.replace(MEDIA, " ").strip()
    said = [one for clip in dict.fromkeys(item.clips) for one in book.said.get(clip, ())]
    return sorted(said, key=lambda one: one.question.strip() != question)[:_OTHERS]
