"""False texts from true ones: one fact changed, all other words as they were.

Source: hard negatives by rule as in NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936), here by replacing a
word and not by moving words about. A rule knows the text and not the clip: where a text tells only part of
what is seen, a changed copy can be true by chance. Where a world knows the facts, use `facts` instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from vidapt.digests import seed_of
from vidapt.errors import ConfigError, nearest
from vidapt.labelling.lexicon import Lexicon, read_lexicon, spellings

_SENTENCE = re.compile(r"[^.!?;\n]+(?:[.](?=\d)[^.!?;\n]*)*")
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """A text in which one fact was changed.

    Attributes:
        text: All of it.
        fact: Type of the fact.
        was: The term that stood there.
        now: The one that stands there now.
        at: Where it stands in `text`.
    """

    text: str
    fact: str
    was: str
    now: str
    at: int


def falsify(
    text: str,
    lexicon: Lexicon | None = None,
    *,
    seed: int = 0,
    count: int = 1,
    facts: Collection[str] | None = None,
) -> list[Change]:
    """Change one fact of a true text.

    Types of facts take turns, so that a text full of colours is not only changed in its colours. A term that
    the text holds already is never put in, since "the blue ball hits the blue ball" is told by its oddness.

    Args:
        text: Of any length.
        lexicon: None is the one that comes with the package.
        seed: The same text, lexicon and seed give the same changes, whatever else is asked.
        count: How many are wanted.
        facts: Types of facts to change; None is all of the lexicon's.

    Returns:
        Up to `count` different ones; none where the text tells no fact of the lexicon.

    Raises:
        ConfigError: If the lexicon has no such type of fact.
    """
    lexicon = lexicon or read_lexicon()
    for unknown in sorted(set(facts or ()) - set(lexicon.facts)):
        raise ConfigError(
            "facts", f"the lexicon has no type {unknown!r}", nearest(unknown, list(lexicon.facts))
        )
    rng = np.random.default_rng(seed_of(seed, text))
    by_fact: dict[str, list[Change]] = {}
    for change in changes(text, lexicon):
        if facts is None or change.fact in facts:
            by_fact.setdefault(change.fact, []).append(change)
    piles = [[pile[i] for i in rng.permutation(len(pile)).tolist()] for _, pile in sorted(by_fact.items())]
    piles = [piles[i] for i in rng.permutation(len(piles)).tolist()]
    longest = max(map(len, piles), default=0)
    dealt = [pile[turn] for turn in range(longest) for pile in piles if turn < len(pile)]
    return dealt[:count]


def changes(text: str, lexicon: Lexicon) -> Iterator[Change]:
    """Every text that one change makes, in the order of the words changed."""
    there = {" ".join(found.group().lower().split()) for found in lexicon.pattern.finditer(text)}
    fixed = [found.span() for found in lexicon.left_alone.finditer(text)]
    for sentence in _SENTENCE.finditer(text):
        if lexicon.guards.search(sentence.group()):
            continue
        for found in lexicon.pattern.finditer(text, *sentence.span()):
            if any(found.start() < end and start < found.end() for start, end in fixed):
                continue
            fact, others = lexicon.others[" ".join(found.group().lower().split())]
            for other in others:
                if not any(spelling.lower() in there for spelling in spellings(other)):
                    yield _changed(text, found, fact, spellings(other)[0])


def _changed(text: str, found: re.Match[str], fact: str, other: str) -> Change:
    was, before = found.group(), text[: found.start()]
    now = _dressed(other, was)
    article = _ARTICLE.search(before)
    if article:
        fitting = _dressed("an" if now[0] in "aeiouAEIOU" else "a", article[1])
        before = before[: article.start()] + fitting + article[2]
    return Change(before + now + text[found.end() :], fact, was, now, len(before))


def _dressed(word: str, like: str) -> str:
    """A word with the capitals of another."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word
