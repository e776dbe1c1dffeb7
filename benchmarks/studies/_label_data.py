"""Data of the study of labels: a teacher who lies and leaves out, and what clips show that stand still."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _adapt_arms import SHORT
from _adapt_data import WORDS

from vidapt.files import write_text
from vidapt.worlds.asked import normalise
from vidapt.worlds.billiards import STYLES, Record, falsify, load_records, parse
from vidapt.worlds.billiards.claims import Claim, true_claims

Row = dict[str, Any]

TEXT = "trajectory"
"""The type of free text that is learned and judged: what hits, touches and falls, in order."""

LEFT_OUT = 0.2
"""Share of questions, and of sentences of texts, that the teacher does not give."""


def rows_of(world: Path, clips: int) -> list[Row]:
    """Short questions about the first clips of a world, and texts, in the words of the home venue."""
    rows = map(json.loads, (world / WORDS).read_text(encoding="utf-8").splitlines())
    wanted = {*SHORT, TEXT}
    return [row for row in rows if int(Path(row["video"]).stem) < clips and row["facts"]["type"] in wanted]


def texts_of(world: Path, clips: int) -> list[Row]:
    """Texts about the first clips of a world, whose paths are absolute."""
    return [
        {**row, "video": str((world / row["video"]).absolute()), "facts": {"type": TEXT}}
        for row in rows_of(world, clips)
        if row["facts"]["type"] == TEXT
    ]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a label file whose paths are absolute."""
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))


@dataclass(frozen=True)
class Taught:
    """What a teacher says.

    Attributes:
        rows: As it says them.
        true: The same rows without lies: what is left out is left out here, too.
        without: The rows without whatever is a lie, sentence by sentence.
        lies: By id: of a question whether its answer is false, of a text of each sentence.
    """

    rows: list[Row]
    true: list[Row]
    without: list[Row]
    lies: dict[str, list[bool]]


def lying_teacher(world: Path, clips: int, share: float, seed: int) -> Taught:
    """Have a teacher tell lies.

    A false answer is one that was given to another clip's question of the same type, and is not accepted
    here; a false sentence differs from a true one in one word, and the log denies it.

    Args:
        world: Folder of clips and labels.
        clips: How many of its clips are labelled.
        share: Of answers, and of sentences of texts, that are false.
        seed: Of the teacher.
    """
    records = {record.index: record for record in load_records(world / "events.jsonl")}
    rows = rows_of(world, clips)
    answers: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        answers[row["facts"]["type"]].append(row["answer"])
    taught = Taught([], [], [], {})
    for row in rows:
        rng = np.random.default_rng([seed, round(100 * share), *row["id"].encode()])
        row = {**row, "video": str((world / row["video"]).absolute())}
        if row["facts"]["type"] == TEXT:
            _text(row, records[int(Path(row["video"]).stem)], share, rng, taught)
        elif rng.random() >= LEFT_OUT:
            _answer(row, answers[row["facts"]["type"]], share, rng, taught)
    return taught


def _plain(row: Row, answer: str) -> Row:
    """A row as a teacher writes it: it knows no other answers, and nothing but the type."""
    return {**row, "answer": answer, "facts": {"type": row["facts"]["type"]}}


def _answer(row: Row, others: Sequence[str], share: float, rng: np.random.Generator, taught: Taught) -> None:
    accepted = {normalise(one) for one in row["facts"]["accept"]}
    wrong = sorted({one for one in others if normalise(one) not in accepted})
    lies = bool(wrong) and rng.random() < share
    said = wrong[int(rng.integers(len(wrong)))] if lies else row["answer"]
    taught.rows.append(_plain(row, said))
    taught.true.append(_plain(row, row["answer"]))
    if not lies:
        taught.without.append(_plain(row, said))
    taught.lies[row["id"]] = [lies]


def _text(row: Row, record: Record, share: float, rng: np.random.Generator, taught: Taught) -> None:
    said: list[tuple[str, str, bool]] = []
    for sentence in sentences(row["answer"]):
        claims, _ = parse(sentence)
        if rng.random() < LEFT_OUT:
            continue
        false = falsify(claims[0], record, rng) if len(claims) == 1 and rng.random() < share else None
        said.append((sentence if false is None else false.say(STYLES["home"]), sentence, false is not None))
    if not said:
        return
    taught.rows.append(_plain(row, text_of([one for one, _, _ in said])))
    taught.true.append(_plain(row, text_of([one for _, one, _ in said])))
    if kept := [one for one, _, lie in said if not lie]:
        taught.without.append(_plain(row, text_of(kept)))
    taught.lies[row["id"]] = [lie for _, _, lie in said]


def sentences(text: str) -> list[str]:
    """Sentences of a text in the words of the home venue, without their full stops."""
    return [one.strip() for one in text.split(".") if one.strip()]


def text_of(said: Sequence[str]) -> str:
    """A text of sentences."""
    return " ".join(f"{one}." for one in said)


def kinds_of(sentence: str) -> str:
    """What a sentence is about, as the world's judge calls it."""
    claims, _ = parse(sentence)
    return claims[0].kind if claims else "unread"


def shown_until(record: Record, end_s: float) -> set[Claim]:
    """What a clip that stands still from a moment on shows of what happens.

    Args:
        record: The log of the whole clip.
        end_s: The moment, in seconds from the first frame.
    """
    shown = tuple(event for event in record.events if event.time_s <= end_s)
    until = replace(record, events=shown)
    return {claim for claim in true_claims(until) if claim.kind in ("hits", "cushion", "pocket", "break")}


def is_shown(sentence: str, shown: Set[Claim]) -> bool:
    """Whether all that a sentence claims is shown."""
    claims, _ = parse(sentence)
    return bool(claims) and all(claim in shown for claim in claims)
