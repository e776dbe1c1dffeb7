"""Letters of options, and yes or no, from whatever a model wrote around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vidapt.metrics.match import normalise

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_ALONE = re.compile(r"[\s*_`\"'(\[{]*([A-Za-z])[\s*_`\"')\]}.:,;!]*")
_IN_FRONT = re.compile(r"[\s*_`\"']*(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Z])[).:])[\s*_`]")
_NAMED = re.compile(
    r"\b(?:answer|option|choice)\b(?:\s+is|\s*[:=])?\s*(?:option\s+)?"
    r"(?:\(([A-Za-z])\)|\[([A-Za-z])\]|[*`\"']+([A-Za-z])[*`\"']+|([A-Z])(?=\s*(?:[.,;:!)\]]|$)))",
    re.IGNORECASE,
)
_MARKED = re.compile(r"\(([A-Za-z])\)")
_SAID = re.compile(r"\b(?:answer|it)\s*(?:is|:)\s*[*\"'`]*(yes|no)\b")
_BOTH = re.compile(r"\W*(?:yes|no)\s*(?:/|or\b|and\b)\s*(?:yes|no)\b|\W*(?:yes|no)\W+(?:yes|no)\W*$")
_FIRST = re.compile(r"\W*(yes|no)\b")


def option_of(text: str, options: Sequence[str]) -> int | None:
    """Index of the option that an answer chooses; None where it chooses none, or several.

    A letter alone, in brackets, in front of words behind a mark, or named as the answer; or the words of an
    option themselves. An article is no letter: "a red ball" chooses A only if that is what option A says.

    >>> option_of("The answer is (A)", ["red", "blue"]), option_of("a red ball", ["red", "blue"])
    (0, None)
    """
    said = normalise(text)
    same = [place for place, option in enumerate(options) if said and normalise(option) == said]
    if len(same) == 1:
        return same[0]
    letters = _letters(text.strip())
    places = {LETTERS.index(letter.upper()) for letter in letters}
    return places.pop() if len(places) == 1 and max(places) < len(options) else None


def _letters(text: str) -> list[str]:
    if alone := _ALONE.fullmatch(text):
        return [alone[1]]
    if named := [next(filter(None, match.groups())) for match in _NAMED.finditer(text)]:
        return named
    if front := _IN_FRONT.match(text):
        first = next(filter(None, front.groups()))
        others = {letter.upper() for letter in _MARKED.findall(text)} - {first.upper()}
        return [first, *others]
    return _MARKED.findall(text)


def yes_or_no(text: str) -> bool | None:
    """Whether an answer says yes; None where it says neither, or repeats the question's "yes or no".

    >>> yes_or_no("Yes, it does."), yes_or_no("No."), yes_or_no("yes or no")
    (True, False, None)
    """
    said = normalise(text)
    if _BOTH.match(said):
        return None
    if first := _FIRST.match(said):
        return first[1] == "yes"
    named = set(_SAID.findall(said))
    return named == {"yes"} if len(named) == 1 else None
