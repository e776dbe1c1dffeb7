"""Reads the claims of a text in any style, and checks each against what happened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from vidapt.worlds.conveyor.claims import Claim, holds, named, story, true_claims
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.language import CLAIMS, NUMBERS, Noun
from vidapt.worlds.conveyor.line import COLOURS
from vidapt.worlds.conveyor.styles import STYLES
from vidapt.worlds.verdict import Verdict

_SPLIT = re.compile(r"[.!?;\n]+|,? and (?=the |a gate |no |all |nothing |everything |track )")
_OPENING = re.compile(r"^(?:(?:and|then|next|finally)[ ,]+|[ ,]+)+")


@cache
def _words(noun: Noun) -> dict[str, str]:
    """What every word for a value of this kind means, in all styles."""
    if noun == "number":
        return {word: str(number) for number, word in enumerate(NUMBERS)} | {str(n): str(n) for n in range(9)}
    if noun == "way":
        return {"left": "left", "right": "right"}
    found: dict[str, str] = {}
    for style in STYLES.values():
        tables = {"belt": style.belts, "size": style.sizes, "defect": style.defects}
        found |= {word: value for value, word in tables[noun].items()}
    return found


@cache
def _kinds() -> dict[str, str]:
    """What every word for a kind of part means; the words for any part mean no kind."""
    found = {word: kind for style in STYLES.values() for kind, word in style.kinds.items()}
    return found | {style.thing: "" for style in STYLES.values()} | {"one": ""}


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def _slot(noun: Noun, letter: str) -> str:
    """The pattern of one word of a claim."""
    if noun == "part":
        return rf"(?:the )?(?P<{letter}>(?:{_any(COLOURS)}) (?:{_any(_kinds())}))"
    return f"(?P<{letter}>{_any(_words(noun))})"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Every sentence template of every style as a pattern."""
    found = []
    for style in STYLES.values():
        for kind, template in style.sentences.items():
            found.append((re.compile(_pattern(template, kind)), kind))
    return tuple(found)


def _pattern(template: str, kind: str) -> str:
    """A template as a pattern; words of all styles are understood in each one's sentences."""
    nouns = dict(zip(("{a}", "{b}"), CLAIMS[kind], strict=True))
    parts = re.split(r"(\{[ab]\})", template)
    return "".join(_slot(nouns[part], part[1]) if part in nouns else re.escape(part) for part in parts)


def _value(noun: Noun, word: str | None) -> str:
    if not word:
        return ""
    if noun == "part":
        colour, _, kind = word.partition(" ")
        return f"{colour} {_kinds()[kind]}"
    return _words(noun)[word]


def _claim(sentence: str) -> Claim | None:
    for pattern, kind in _patterns():
        match = pattern.fullmatch(sentence)
        if match is not None:
            said, (first, second) = match.groupdict(), CLAIMS[kind]
            return Claim(kind, _value(first, said.get("a")), _value(second, said.get("b")))
    return None


def parse(text: str) -> tuple[list[Claim], list[str]]:
    """Read the claims of a text, in any style or mix of styles.

    Returns:
        The claims in order, and the sentences that are none.
    """
    claims, unparsed = [], []
    for piece in _SPLIT.split(text):
        plain = re.sub(r"\bcolor\b", "colour", " ".join(piece.lower().split()))
        sentence = _OPENING.sub("", plain).strip(" ,")
        if not sentence:
            continue
        claim = _claim(sentence)
        if claim is None:
            unparsed.append(sentence)
        else:
            claims.append(claim)
    return claims, unparsed


def judge(text: str, record: Record) -> Verdict[Claim]:
    """Check every claim of a text against the whole log.

    Args:
        text: Sentences of any style.
        record: The truth.

    Returns:
        The verdict; recall is against `claims.story`.
    """
    claims, unparsed = parse(text)
    truth, salient = true_claims(record), story(record)
    said = {named(claim, record) for claim in claims}
    supported = [holds(claim, record, truth) for claim in claims]
    return Verdict(
        supported=tuple(claim for claim, true in zip(claims, supported, strict=True) if true),
        false=tuple(claim for claim, true in zip(claims, supported, strict=True) if not true),
        unparsed=tuple(unparsed),
        salient=tuple(salient),
        recalled=tuple(claim for claim in salient if claim in said),
    )
