"""What the formats share: options, the way from rows to samples, and labels of one sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from vidapt.claims import read_claims
from vidapt.formats._media import checked
from vidapt.formats._row import Row, rows
from vidapt.formats._talk import conversation, role_of, unmarked
from vidapt.nouns import Clip, Role, Sample, Turn
from vidapt.parts import PartConfig

CAPTION_PROMPT = "describe the video."
LABEL_KEYS = frozenset({"question", "answer", "answers", "caption", "turns", "rejected", "facts", "claims"})
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


class FileConfig(PartConfig):
    """Options of every format that is one label file.

    Attributes:
        media_root: Where the media lie, if not in the label file's folder.
        check_files: Name all missing media in one error once the last row is read.
        max_bytes: Largest JSON list read; JSON lines may be of any length.
    """

    media_root: Path | None = None
    check_files: bool = True
    max_bytes: int = Field(default=2 << 30, gt=0)


def read_samples(path: Path, cfg: FileConfig, build: Callable[[Row], Sample]) -> Iterator[Sample]:
    """Yield the sample `build` makes of each row, lazily.

    Raises:
        FormatError: If the file or a row is unsound, or, at the end, if media are missing.
    """
    samples = (build(row) for row in rows(path, cfg.max_bytes))
    yield from checked(samples) if cfg.check_files else samples


def distinct(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Give samples of a repeated id an id of their own (`12`, `12#2`, ...).

    Published label files repeat ids, as they are those of the clip or of a row in one of several parts.
    """
    taken: set[str] = set()
    uses: dict[str, int] = {}
    for sample in samples:
        name = sample.id
        while name in taken:
            uses[sample.id] = uses.get(sample.id, 1) + 1
            name = f"{sample.id}#{uses[sample.id]}"
        taken.add(name)
        yield sample if name == sample.id else replace(sample, id=name)


def labelled(row: Row, name: str, media: tuple[Clip, ...], caption_prompt: str) -> Sample:
    """Build the sample of a row in vidapt's own keys: question and answer, caption, or turns.

    Args:
        row: The labels; keys outside `LABEL_KEYS` are the caller's.
        name: Id of the sample.
        media: Its clips.
        caption_prompt: What the user says where the row is a caption.

    Raises:
        FormatError: If not exactly one kind of label is there, or it is unsound.
    """
    rejected = unmarked(row.text("rejected"), "'rejected'", row) if "rejected" in row.values else None
    turns = conversation(_labelled_turns(row, caption_prompt), len(media), row)
    others = references(row, turns[-1].text)
    facts = _with_accepted(_facts(row), turns, others)
    return _with_claims(Sample(name, media, turns, rejected, facts, row.where, others), row)


def _with_claims(sample: Sample, row: Row) -> Sample:
    if row.values.get("claims") is None:
        return sample
    try:
        return replace(sample, claims=read_claims(row.values["claims"], sample))
    except ValueError as error:
        raise row.error(f"'claims': {error}", "run `vidapt evidence` anew, or remove the column") from None


def references(row: Row, answer: str) -> tuple[str, ...]:
    """Return what a row's `answers` holds beside the answer that its conversation ends with.

    Raises:
        FormatError: If they are no list of texts, or a media mark stands in one.
    """
    if "answers" not in row.values:
        return ()
    given = (unmarked(text, "one of 'answers'", row) for text in row.texts("answers"))
    return tuple(text for text in dict.fromkeys(given) if text != answer)


def _with_accepted(facts: dict[str, Any], turns: Sequence[Turn], others: tuple[str, ...]) -> dict[str, Any]:
    """Every reference counts as right, where the row does not say itself what does."""
    return {**facts, "accept": [turns[-1].text, *others]} if others and "accept" not in facts else facts


def _labelled_turns(row: Row, caption_prompt: str) -> list[Turn]:
    given = [key for key in ("question", "caption", "turns") if key in row.values]
    if len(given) != 1:
        found = " and ".join(map(repr, given)) or f"none in {', '.join(row.values)}"
        raise row.error(f"exactly one of 'question', 'caption' and 'turns' is needed; found {found}")
    if "answer" in row.values and given != ["question"]:
        raise row.error(f"'answer' belongs to 'question', not to {given[0]!r}")
    if given == ["question"] and "answers" in row.values and "answer" not in row.values:
        answers = row.texts("answers")
        if not answers:
            raise row.error("'answers' holds no answer", "list at least one")
        return [Turn("user", row.text("question")), Turn("assistant", answers[0])]
    if given == ["turns"]:
        return [_turn(row.inner(entry, "a turn")) for entry in row.listed("turns")]
    if given == ["caption"]:
        return [Turn("user", caption_prompt), Turn("assistant", row.text("caption"))]
    return [Turn("user", row.text("question")), Turn("assistant", row.text("answer"))]


def _turn(row: Row) -> Turn:
    row.only({"role", "text"})
    return Turn(role_of(row.text("role"), _ROLES, row), row.text("text"))


def _facts(row: Row) -> dict[str, Any]:
    if "facts" not in row.values:
        return {}
    facts = row.inner(row.values["facts"], "'facts'")
    if "type" in facts.values:
        facts.text("type")
    if "accept" in facts.values:
        facts.listed("accept")
        if not facts.texts("accept"):
            raise row.error("'accept' names no answer", "list every answer that counts as right")
    return dict(facts.values)
