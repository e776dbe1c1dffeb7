"""A clause of an answer with what is known of it, as label files hold it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from vidapt.nouns import Sample

Verdict = Literal["supported", "unseen", "contradicted", "unchecked"]
"""Whether a clip bears a claim out, says nothing of it, or speaks against it. What says nothing that could
have been otherwise, or is told as surely without the clip, is `unchecked`."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MOST = 10_000
"""Claims of one row that its column may hold."""

_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Claim:
    """One clause.

    Attributes:
        turn: Index of the turn it stands in; from the number of turns on, that of a further answer.
        start: Its first letter there.
        end: The one behind its last.
        text: What stands there.
        type: What it is about.
        verdict: Whether the clip bears it out.
        values: Stretches of the answer that tell what could have been otherwise.
        evidence: Log-probability of the values' tokens with the clip less that without it; None where there
            are no such tokens.
        mean: The same for each token.
        seen: Log-probability of the values' tokens with the clip.
        blind: Without it.
        agreement: Share of the voices, samples or variants of the model in which it stands; None where there
            is one.
        lost: Of a supported claim, what else was tried in which it does not stand: models, numbers of
            frames, sizes of pictures.
    """

    turn: int
    start: int
    end: int
    text: str
    type: str
    verdict: Verdict
    values: tuple[tuple[int, int], ...] = ()
    evidence: float | None = None
    mean: float | None = None
    seen: float | None = None
    blind: float | None = None
    agreement: float | None = None
    lost: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; what is not known is left out."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["values"] = [list(pair) for pair in self.values]
        plain["lost"] = list(self.lost) or None
        return {name: value for name, value in plain.items() if value is not None}


_TEXTS, _WHOLE = ("text", "type"), ("turn", "start", "end")
_NUMBERS = ("evidence", "mean", "seen", "blind", "agreement")
_NAMES = frozenset(one.name for one in fields(Claim))


def said(sample: Sample, turn: int) -> str | None:
    """An answer of a sample; None if there is none of this number."""
    further = turn - len(sample.turns)
    if further >= 0:
        return sample.references[further] if further < len(sample.references) else None
    return sample.turns[turn].text if turn >= 0 and sample.turns[turn].role == "assistant" else None


def read_claims(plain: Any, sample: Sample) -> tuple[Claim, ...]:
    """The claims of a row.

    Args:
        plain: What stands in its column.
        sample: The row without them.

    Raises:
        ValueError: If they are none, or are about another text: what was wrong, in words.
    """
    if not isinstance(plain, list) or len(plain) > MOST:
        raise ValueError(f"is no list of at most {MOST:,} claims")
    claims = tuple(_claim(one, number) for number, one in enumerate(plain))
    ends: dict[int, int] = {}
    for number, claim in enumerate(claims):
        text = said(sample, claim.turn)
        if text is None:
            raise ValueError(f"claim {number}: there is no answer at turn {claim.turn}")
        if not 0 <= claim.start < claim.end <= len(text):
            raise ValueError(
                f"claim {number}: letters {claim.start} to {claim.end} are not in an answer of {len(text)}"
            )
        if text[claim.start : claim.end] != claim.text:
            raise ValueError(
                f"claim {number}: {claim.text!r} stands not there but {text[claim.start : claim.end]!r}"
            )
        if claim.start < ends.get(claim.turn, 0):
            raise ValueError(f"claim {number}: begins before the one before it ends")
        if any(not claim.start <= start < end <= claim.end for start, end in claim.values):
            raise ValueError(f"claim {number}: a value stands outside of it")
        ends[claim.turn] = claim.end
    return claims


def _claim(plain: Any, number: int) -> Claim:
    if not isinstance(plain, Mapping):
        raise ValueError(f"claim {number}: is no object")  # noqa: TRY004 - all that is wrong is one error
    if unknown := sorted(map(str, plain.keys() - _NAMES)):
        raise ValueError(f"claim {number}: {unknown[0]!r} is an unknown key")
    for names, kinds, told in ((_TEXTS, str, "no text"), (_WHOLE, int, "no whole number")):
        for name in names:
            if not isinstance(plain.get(name), kinds) or isinstance(plain.get(name), bool):
                raise ValueError(f"claim {number}: {name!r} is {told}")  # noqa: TRY004
    if plain.get("verdict") not in VERDICTS:
        raise ValueError(f"claim {number}: 'verdict' is none of {', '.join(VERDICTS)}")
    _check_lists(plain, number)
    for name in _NUMBERS:
        if plain.get(name) is not None and not _is_number(plain[name]):
            raise ValueError(f"claim {number}: {name!r} is no number")
    values = tuple((start, end) for start, end in plain.get("values", []))
    return Claim(**{**plain, "values": values, "lost": tuple(plain.get("lost", []))})


def _check_lists(plain: Mapping[str, Any], number: int) -> None:
    for name, is_one, told in (("values", _is_pair, "pairs of letters"), ("lost", _is_text, "texts")):
        if not isinstance(some := plain.get(name, []), list) or not all(map(is_one, some)):
            raise ValueError(f"claim {number}: {name!r} is no list of {told}")


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(one, int) and not isinstance(one, bool) for one in pair)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    # A whole number may be larger than any float, and then it is not even infinite.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def renumbered(sample: Sample, turns: Mapping[int, int]) -> Sample:
    """A sample whose turns have other numbers now, with its claims and counts there.

    Args:
        sample: With its new turns, and with claims and counts by old numbers.
        turns: New numbers by old ones; what is about others is left out.
    """
    if not sample.claims and not sample.counts:
        return sample
    claims = tuple(replace(claim, turn=turns[claim.turn]) for claim in sample.claims if claim.turn in turns)
    counts = tuple((turns[turn], *rest) for turn, *rest in sample.counts if turn in turns)
    return replace(sample, claims=claims, counts=counts)  # type: ignore[arg-type]


def refit(claims: Iterable[Claim], turn: int, text: str) -> tuple[Claim, ...]:
    """Claims of a row in which one answer has a new text: those that still stand there, where they stand.

    Args:
        claims: Of the row.
        turn: Of the answer.
        text: What it is now.
    """
    found: list[Claim] = []
    lowered, at = text.lower(), 0
    same = len(lowered) == len(text)  # a few letters of some alphabets are two when they are small
    for claim in claims:
        if claim.turn != turn:
            found.append(claim)
            continue
        core = claim.text.strip(_AROUND)
        start = lowered.find(core.lower(), at) if same and core else -1
        if start < 0:
            continue
        at = start + len(core)
        by = start - claim.start - claim.text.index(core)
        values = _within([(a + by, b + by) for a, b in claim.values], start, at)
        found.append(replace(claim, start=start, end=at, text=text[start:at], values=values))
    return tuple(found)


_AROUND = " \t\r\n.,;:!?"


def _within(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[tuple[int, int], ...]:
    cut = ((max(a, start), min(b, end)) for a, b in spans)
    return tuple((a, b) for a, b in cut if a < b)
