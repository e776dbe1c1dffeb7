"""Which rows a person wants to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints

from vidapt.reviewing.book import Item
from vidapt.reviewing.ledger import Ledger

LOW = "voices agree by less than 0.5"
_LOW = 0.5
_MOST_CHOICES = 200

Short = Annotated[str, StringConstraints(max_length=500)]


class Filters(BaseModel):
    """What rows are asked for; what is empty asks for nothing.

    Attributes:
        show: In dispute, kept by the checks (drawn ones for comparison), rewritten or dropped.
        check: Name of the check that changed them.
        type: Question type.
        flag: What their teacher's side noted.
        state: Whether a person decided them.
        text: Words that stand in their id, question, answers or reason.
    """

    show: Literal["all", "disputed", "drawn", "keep", "rewrite", "drop"] = "all"
    check: Short = ""
    type: Short = ""
    flag: Short = ""
    state: Literal["any", "open", "decided"] = "any"
    text: Short = ""


@dataclass(frozen=True, slots=True)
class _Traits:
    verdict: str
    drawn: bool
    kind: str
    flags: frozenset[str]
    words: str


class Finder:
    """Finds rows by what they are and what became of them."""

    def __init__(self, items: Sequence[Item], ledger: Ledger) -> None:
        self._ledger = ledger
        self._traits = [_traits(item) for item in items]

    def facets(self) -> dict[str, dict[str, int]]:
        """What checks, types and flags there are, with how many rows have each."""
        kinds = range(len(self._traits))
        return {
            "check": _counts(name for row in kinds if (name := self._ledger.check_of(row))),
            "type": _counts(one.kind for one in self._traits if one.kind),
            "flag": _counts(flag for one in self._traits for flag in one.flags),
        }

    def rows(self, filters: Filters) -> list[int]:
        """Numbers of the rows, in their order."""
        tests = list(self._tests(filters))
        return [row for row in range(len(self._traits)) if all(test(row) for test in tests)]

    def _tests(self, asked: Filters) -> Iterator[Callable[[int], bool]]:
        traits, ledger = self._traits, self._ledger
        if asked.show == "disputed":
            yield lambda row: row in ledger.disputed
        elif asked.show == "drawn":
            yield lambda row: traits[row].drawn
        elif asked.show != "all":
            yield lambda row: traits[row].verdict == asked.show
        if asked.check:
            yield lambda row: ledger.check_of(row) == asked.check
        if asked.type:
            yield lambda row: traits[row].kind == asked.type
        if asked.flag:
            yield lambda row: asked.flag in traits[row].flags
        if asked.state != "any":
            yield lambda row: (ledger.of(row) is None) == (asked.state == "open")
        if words := asked.text.casefold().strip():
            yield lambda row: words in traits[row].words


def _traits(item: Item) -> _Traits:
    sample, made = item.sample, item.origin and item.origin.made
    flags = set(made.flags) if made else set()
    if made and made.agreement is not None and made.agreement < _LOW:
        flags.add(LOW)
    texts = (sample.id, *(turn.text for turn in sample.turns), *sample.references, item.reason)
    kind = str(sample.facts.get("type") or "")
    return _Traits(item.verdict, item.drawn, kind, frozenset(flags), "\n".join(texts).casefold())


def _counts(names: Iterator[str]) -> dict[str, int]:
    found = Counter(names)
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0]))[:_MOST_CHOICES])
