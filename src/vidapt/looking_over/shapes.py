"""What the page is told, and what it may say, as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, Field

from vidapt.claims import Claim
from vidapt.decisions import Decision
from vidapt.looking_over.book import Book
from vidapt.looking_over.differ import answers_to, plain
from vidapt.looking_over.entries import Item, Said
from vidapt.looking_over.ledger import Change, Ledger, Progress
from vidapt.looking_over.made import Clause, Made, Text
from vidapt.metrics.spans import read_stretches

MOST_ASKED = 200
"""Rows that are told at once."""

_OTHERS, _LOOKED_AT = 60, 1000


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


class Claimed(BaseModel):
    """A clause of the last answer: where it stands, what a clip says of it, and whether it is still said."""

    start: int
    end: int
    verdict: str
    type: Text
    evidence: float | None
    agreement: float | None
    kept: bool


class Arm(BaseModel):
    """What a model said that was not shown the clip; `arm` says what it was shown."""

    arm: str
    text: Text
    right: bool | None


class Answer(BaseModel):
    """What a model said to a row's question; `spans` are seconds of the file.

    Where it was asked only one thing about the clip, such as to describe it, that `question` and its answer
    stand here; `text` is None where it was asked more, and not this.
    """

    column: int
    model: Text
    question: Text = ""
    text: Text | None = None
    right: bool | None = None
    spans: list[tuple[float, float]] = []
    frames: list[float] = []
    policy: bool = False
    arms: list[Arm] = []


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
    claims: list[Claimed]
    split: Text
    differ: list[Text]
    answers: list[Answer]
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
    show: str
    models: list[Text]
    asks: Text
    versions: Text


class News(BaseModel):
    """Decisions that were made since; `stale` says that files have changed which the page shows."""

    changes: list[Decided]
    standing: Progress
    stale: bool = False


class Wish(BaseModel):
    """A decision that a person makes; `seen` names the one that was last seen of the row, 0 for none."""

    row: int = Field(ge=0)
    verdict: Literal["keep", "rewrite", "drop", "undecided"]
    text: str = Field("", max_length=1 << 20)
    reason: str = Field("", max_length=10_000)
    seen: int = Field(0, ge=0)


class Question(BaseModel):
    """A row whose question a model is to answer: with its clip, or `blind`."""

    row: int = Field(ge=0)
    blind: bool = False


class Told(BaseModel):
    """What it said, and the seconds of the file at which it looked; those of `spans` it names."""

    model: Text
    text: Text
    frames: list[float] = []
    spans: list[tuple[float, float]] = []
    seconds: float = 0.0


class Name(BaseModel):
    """Of a version that rows are to be frozen as."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)


class Frozen(BaseModel):
    """A version that was made, and a recipe's source that names it."""

    folder: Text
    version: str
    rows: int
    left_out: int


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
    short, change, clip = book.short(number), ledger.of(number), int(book.first_clip[number])
    return {
        "row": number,
        "id": short.id,
        "clip": None if clip < 0 else clip,
        "type": book.kind.one(number),
        "question": short.question,
        "text": short.text,
        "verdict": book.verdict.one(number),
        "check": ledger.check_of(number),
        "decision": None if change is None else Decided.of(change),
    }


def whole(number: int, book: Book, ledger: Ledger) -> Whole:
    """A row with all that is known of it."""
    item: Item = book.items[number]
    sample, origin = item.sample, item.origin
    made = origin.made if origin else Made()
    begin = sample.media[0].start_s if sample.media else 0.0
    said = [one for clip in dict.fromkeys(item.clips) for one in book.said(clip)]
    own = answers_to(sample, said)
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
        claims=_claimed(item),
        split=item.split,
        differ=list(item.differ),
        answers=_answers(own, said, book, begin),
        spans=spans_of(sample.answer, begin),
        others=[brief(row, book, ledger) for row in _others(number, item, book)],
        predictions=_besides(own, said)[:_OTHERS],
    )


def spans_of(text: str, begin: float) -> list[tuple[float, float]]:
    """Stretches of time that a text names, as seconds of the file of a clip that begins there."""
    return [(begin + first, begin + last) for first, last in read_stretches(text)]


def _claimed(item: Item) -> list[Claimed]:
    last = len(item.sample.turns) - 1
    still = {_same(claim) for claim in item.now.claims} if item.now is not None else None
    return [
        Claimed(
            start=one.start,
            end=one.end,
            verdict=one.verdict,
            type=one.type,
            evidence=one.evidence,
            agreement=one.agreement,
            kept=item.verdict != "drop" and (still is None or _same(one) in still),
        )
        for one in item.sample.claims
        if one.turn == last
    ]


def _same(claim: Claim) -> tuple[int, str]:
    """What tells a clause that stays where others went."""
    return claim.turn, claim.text.strip(" .,;").casefold()


def _answers(own: list[Said], said: list[Said], book: Book, begin: float) -> list[Answer]:
    """What each model said to a row, in the order of their columns."""
    found = []
    for number, column in enumerate(book.columns):
        mine = [one for one in own if one.model == column.name]
        asked = [one for one in said if one.model == column.name and not one.arm]
        main = next((one for one in mine if not one.arm), asked[0] if len(asked) == 1 else None)
        arms = [Arm(arm=one.arm, text=one.text, right=one.right) for one in mine if one.arm]
        answer = Answer(column=number, model=column.name, arms=arms, policy=column.policy is not None)
        if main is not None:
            told = {"text": main.text, "right": main.right, "frames": main.frames}
            told |= {"question": "" if main in mine else main.question}
            answer = answer.model_copy(update=told | {"spans": spans_of(main.text, begin)})
        found.append(answer)
    return found


def _besides(own: list[Said], said: list[Said]) -> list[Said]:
    """What models said of a clip that stands in no column."""
    asked = Counter(one.model for one in said if not one.arm)
    return [one for one in said if one not in own and not one.arm and asked[one.model] > 1]


def _others(number: int, item: Item, book: Book) -> list[int]:
    """Other rows of a row's clips, first those that are asked the same."""
    rows = [
        row
        for row in dict.fromkeys(row for clip in item.clips for row in book.rows_of(clip))
        if row != number
    ]
    question = plain(item.sample.question)
    alike: list[tuple[bool, int]] = [
        (_begins(book.short(row).question, question), row) for row in rows[:_LOOKED_AT]
    ]
    return [row for same, row in sorted(alike, key=lambda one: not one[0])][:_OTHERS]


def _begins(short: str, question: str) -> bool:
    """Whether the question of a row in short is the same, as far as it goes."""
    return short == question[: len(short)] if short else not question
