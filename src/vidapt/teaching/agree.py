"""How far several answers to one question say the same.

Two statements are alike if the F1 of their words is high enough, and they have the same numbers and the same
denials: "the red ball hits two others" and "... three others" share most words and are not one statement. Of
two answers, agreement is the F1 of their statements that have a like one in the other; of several, the mean
over all pairs. It is 1 for equal answers, 0 where nothing is shared, and says nothing of what is true: voices
that make the same mistake agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from vidapt.labelling.sentences import sentences
from vidapt.metrics.text import word_f1, words
from vidapt.teaching.shapes import Stated

ALIKE = 0.5
"""Word F1 of two sentences of captions that count as one statement."""

_NEAR_S = 1.0
"""Facts whose times are further apart than this are two."""

_DENIALS = frozenset({"no", "not", "never", "none", "nobody", "nothing", "without"})
_NUMBERS = frozenset(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
"""In words; "one" stands for things more often than for a number."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact that some voices state.

    Attributes:
        id: `f1`, `f2`, ... in the order of time.
        kind: `seen` in a stretch, or `change` from one to the next.
        stated: As the first of them states it.
        votes: How many.
        of: Of how many voices.
        teachers: By whom.
    """

    id: str
    kind: str
    stated: Stated
    votes: int
    of: int
    teachers: tuple[str, ...]


def alike(one: str, other: str, least: float = ALIKE) -> bool:
    """Whether two statements say the same."""
    return _telling(one) == _telling(other) and word_f1(one, other) >= least


def alike_facts(one: Stated, other: Stated, least: float) -> bool:
    """Whether two facts are one: alike in words, and at about the same time."""
    near = one.start_s - _NEAR_S <= other.end_s and other.start_s - _NEAR_S <= one.end_s
    return near and alike(one.words, other.words, least)


def overlap(one: Sequence[_T], other: Sequence[_T], same: Callable[[_T, _T], bool]) -> float:
    """F1 of the statements of two answers that have a like one in the other; 1 if both state nothing."""
    if not one or not other:
        return float(not one and not other)
    here = sum(any(same(a, b) for b in other) for a in one) / len(one)
    there = sum(any(same(a, b) for a in one) for b in other) / len(other)
    return 2 * here * there / (here + there) if here + there else 0.0


def agreement(answers: Sequence[Sequence[_T]], same: Callable[[_T, _T], bool]) -> float | None:
    """Mean overlap of all pairs of answers; None for fewer than two."""
    pairs = [overlap(one, other, same) for one, other in itertools.combinations(answers, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def central(texts: Sequence[str]) -> tuple[int, list[float]]:
    """The text that agrees most with the others, the first among equals, and how much each of them does."""
    claims = [sentences(text) for text in texts]
    means = [
        sum(overlap(one, other, alike) for at, other in enumerate(claims) if at != place)
        / max(1, len(claims) - 1)
        for place, one in enumerate(claims)
    ]
    return max(range(len(texts)), key=lambda place: (round(means[place], 9), -place)), means


def merged(stated: Sequence[tuple[str, Sequence[Stated]]], kind: str, least: float) -> list[Fact]:
    """What several voices state of one stretch, each fact once with its votes.

    Args:
        stated: Of each voice, its teacher and its facts.
        kind: As `Fact` has it.
        least: Word F1 from which on two are one.
    """
    heads: list[Stated] = []
    voters: list[dict[int, str]] = []
    for voice, (teacher, facts) in enumerate(stated):
        for fact in facts:
            like = (at for at, head in enumerate(heads) if alike_facts(head, fact, least))
            place = next(like, None)
            if place is None:
                heads.append(fact)
                voters.append({voice: teacher})
            else:
                voters[place].setdefault(voice, teacher)
    return [
        Fact("", kind, head, len(by), len(stated), tuple(dict.fromkeys(by.values())))
        for head, by in zip(heads, voters, strict=True)
    ]


def numbered(facts: Sequence[Fact]) -> list[Fact]:
    """Facts in the order of time, with their names."""
    ordered = sorted(facts, key=lambda fact: (fact.stated.start_s, fact.stated.end_s, fact.kind))
    return [replace(fact, id=f"f{number}") for number, fact in enumerate(ordered, start=1)]


def borne_out(text: str, facts: Sequence[Fact]) -> float:
    """Share of a clause's words that stand in the facts that it tells, short words aside."""
    there = {word for fact in facts for word in words(fact.stated.words)}
    said = [word for word in words(text) if len(word) > 3]
    return round(sum(word in there for word in said) / len(said), 3) if said else 1.0


def _telling(text: str) -> tuple[frozenset[str], bool]:
    """Numbers of a statement, and whether it denies something."""
    found = words(text)
    numbers = frozenset(word for word in found if word in _NUMBERS or any(map(str.isdigit, word)))
    return numbers, any(word in _DENIALS or word.endswith(("n't", "n’t")) for word in found)
