"""Questions with options, in every order in which the options can stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidapt.errors import ConfigError
from vidapt.metrics.match import normalise
from vidapt.metrics.protocols import _columns as columns
from vidapt.metrics.protocols._read import LETTERS
from vidapt.nouns import Sample

_EXAMPLE = '"options": ["red", "blue"]'


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with options.

    Attributes:
        question: Without them.
        options: As the row lists them.
        right: Index of the right one.
    """

    question: str
    options: tuple[str, ...]
    right: int

    def turned(self, by: int) -> tuple[str, ...]:
        """The options, so many places further on."""
        return self.options[by:] + self.options[:by]

    def right_at(self, by: int) -> int:
        """Where the right one then stands."""
        return (self.right - by) % len(self.options)

    def asked(self, by: int, ending: str) -> str:
        """The question with lettered options."""
        rows = [f"({LETTERS[place]}) {option}" for place, option in enumerate(self.turned(by))]
        return "\n".join([self.question, *rows, ending])


def choice(row: Sample) -> Choice:
    """Read a question with its options; the answer is an option's letter, words or index.

    Raises:
        ConfigError: If something is missing, or the answer is none of the options.
    """
    options = columns.texts(row, columns.OPTIONS, _EXAMPLE)
    place = columns.where(row)
    if not 2 <= len(options) <= len(LETTERS):
        raise ConfigError(place, f"has {len(options)} options", f"give 2 to {len(LETTERS)}")
    if len(set(map(normalise, options))) < len(options):
        raise ConfigError(place, "has the same option twice", "give each option once")
    # Files that are read as they are may give a number; others have a text.
    given: Any = columns.found(row, ("answer_index", "correct_index"))
    given = columns.answered(row) if given is None else given
    right = _index(given, options)
    if right is None:
        raise ConfigError(
            place, f"its answer {given!r} is none of its options", "give an option's words, letter or index"
        )
    return Choice(columns.asked(row), options, right)


def orders(count: int, options: int) -> Sequence[int]:
    """By how many places options are turned: all, or so many evenly spread.

    Args:
        count: How many orders are wanted; 0 is all.
        options: How many options there are.
    """
    wanted = min(count or options, options)
    return [turn * options // wanted for turn in range(wanted)]


def _index(given: Any, options: Sequence[str]) -> int | None:
    if isinstance(given, int) and not isinstance(given, bool):
        return given if 0 <= given < len(options) else None
    said = normalise(str(given))
    same = [place for place, option in enumerate(options) if normalise(option) == said]
    if len(same) == 1:
        return same[0]
    bare = said.strip("()[] ")
    if len(bare) == 1 and bare.isascii() and bare.isalpha():
        place = LETTERS.index(bare.upper())
        return place if place < len(options) else None
    return int(bare) if bare.isascii() and bare.isdigit() and int(bare) < len(options) else None
