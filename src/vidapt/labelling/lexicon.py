"""Words that tell facts, from an editable file."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from vidapt.errors import ConfigError
from vidapt.recipe import Strict
from vidapt.yaml_lines import describe, in_order, parse_yaml

# A term stands by itself: it is no part of a longer word, a compound with a hyphen, a number or a time.
_BEGINS, _ENDS = r"(?<![\w'’-])(?<!\d[.,:])", r"(?![\w-]|['’]\w|[.,:]\d)"


class Lexicon(Strict):
    """What may be put in the place of what.

    Attributes:
        facts: For each type of fact its lists of terms that exclude each other. Spellings of one term are
            parted by `|`.
        leave: Phrases in which a term is left alone.
        unless: Words that keep the sentence they stand in from being changed.
    """

    facts: dict[str, list[list[str]]] = Field(min_length=1)
    leave: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_term_once(self) -> Lexicon:
        seen: dict[str, str] = {}
        for fact, lists in self.facts.items():
            for terms in lists:
                if len(terms) < 2:
                    raise ValueError(f"{fact}: a list needs two terms, got {terms}")
                for spelling in (each for term in terms for each in spellings(term)):
                    if not spelling.strip():
                        raise ValueError(f"{fact}: a term of {terms} is empty")
                    if spelling.lower() in seen:
                        raise ValueError(f"{spelling!r} is a {seen[spelling.lower()]} and a {fact}")
                    seen[spelling.lower()] = fact
        return self

    @cached_property
    def others(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Of each spelling in lower case: its type of fact, and the terms that may take its place."""
        return {
            spelling.lower(): (fact, tuple(other for other in terms if other != term))
            for fact, lists in self.facts.items()
            for terms in lists
            for term in terms
            for spelling in spellings(term)
        }

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds every term."""
        return _pattern(self.others)

    @cached_property
    def left_alone(self) -> re.Pattern[str]:
        """Finds the phrases of `leave`."""
        return _pattern(self.leave)

    @cached_property
    def guards(self) -> re.Pattern[str]:
        """Finds the words of `unless`, and what ends in n't."""
        return re.compile(rf"{_pattern(self.unless).pattern}|n['’]t\b", re.IGNORECASE)


def spellings(term: str) -> list[str]:
    """The spellings of a term, as the lexicon writes it."""
    return term.split("|")


def read_lexicon(path: Path | None = None) -> Lexicon:
    """Read a lexicon.

    Args:
        path: A YAML file; None is the one that comes with the package.

    Raises:
        ConfigError: Naming every mistake with its line.
    """
    return _shipped() if path is None else _read(path)


@cache
def _shipped() -> Lexicon:
    return _read(Path(str(importlib.resources.files("vidapt.labelling") / "lexicon.yaml")))


def _read(path: Path) -> Lexicon:
    data, lines = parse_yaml(path)
    try:
        return Lexicon.model_validate(data)
    except ValidationError as error:
        problems = "\n  ".join(in_order(describe(error, Lexicon, lines)))
        remedy = "quote words that YAML reads otherwise, such as no, on, 2"
        raise ConfigError(path, problems, remedy) from None


def _pattern(terms: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(terms, key=len, reverse=True)
    either = "|".join(r"\s+".join(map(re.escape, term.split())) for term in longest_first)
    # Nothing to look for must match nothing.
    return re.compile(f"{_BEGINS}(?:{either}){_ENDS}" if either else r"(?!)", re.IGNORECASE)
