"""Reads the claims of a text in any style of a world."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

from vidapt.worlds.phrases import NUMBERS, Claim, Noun, Style

_OPENING = re.compile(r"^(?:(?:and|then|next|finally)[ ,]+|[ ,]+)+")


class Reader:
    """Understands every sentence template of every style, with the words of all of them.

    Args:
        styles: All styles of the world.
        colours: Colours that things have.
        openings: Words with which a sentence begins; before them, `and` parts two claims.
    """

    def __init__(self, styles: Sequence[Style], colours: Collection[str], openings: Sequence[str]) -> None:
        self._styles, self._colours = styles, colours
        self._split = re.compile(rf"[.!?;\n]+|,? and (?=(?:{'|'.join(openings)}) )")

    def parse(self, text: str) -> tuple[list[Claim], list[str]]:
        """Read the claims of a text, in any style or mix of styles.

        Returns:
            The claims in order, and the sentences that are none.
        """
        claims, unparsed = [], []
        for piece in self._split.split(text):
            plain = re.sub(r"\bcolor\b", "colour", " ".join(piece.lower().split()))
            sentence = _OPENING.sub("", plain).strip(" ,")
            if not sentence:
                continue
            claim = self._claim(sentence)
            if claim is None:
                unparsed.append(sentence)
            else:
                claims.append(claim)
        return claims, unparsed

    @cached_property
    def _phrases(self) -> list[str]:
        """How things are called in any style, without the article."""
        return sorted({style.thing.removeprefix("the ") for style in self._styles})

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """What every word for a kind of thing means; the words for any thing mean no kind."""
        found = {word: kind for style in self._styles for kind, word in style.words["kind"].items()}
        return found | {style.anything: "" for style in self._styles} | {"one": ""}

    @cached_property
    def _words(self) -> dict[Noun, dict[str, str]]:
        """What every word means, in all styles, by noun."""
        digits = {str(number): str(number) for number in range(len(NUMBERS))}
        found = {"number": {word: str(number) for number, word in enumerate(NUMBERS)} | digits}
        for style in self._styles:
            for noun, table in style.words.items():
                found.setdefault(noun, {}).update({word: value for value, word in table.items()})
        return found

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str, tuple[Noun, Noun]]]:
        """Every sentence template of every style as a pattern."""
        return [
            (re.compile(self._pattern(template, style.claims[kind])), kind, style.claims[kind])
            for style in self._styles
            for kind, template in style.sentences.items()
        ]

    def _pattern(self, template: str, claim: tuple[Noun, Noun]) -> str:
        nouns = dict(zip(("{a}", "{b}"), claim, strict=True))
        parts = re.split(r"(\{[ab]\})", template)
        return "".join(
            self._slot(nouns[part], part[1]) if part in nouns else re.escape(part) for part in parts
        )

    def _slot(self, noun: Noun, letter: str) -> str:
        """The pattern of one word of a claim."""
        if noun != "thing":
            return f"(?P<{letter}>{_any(self._words[noun])})"
        phrases = []
        for number, phrase in enumerate(self._phrases):
            words = {"c": _any(self._colours), "k": _any(self._kinds)}
            slots = {part: f"(?P<{letter}{part}{number}>{words[part]})" for part in words}
            phrases.append(phrase.format(**slots))
        return f"(?:the )?(?:{'|'.join(phrases)})"

    def _claim(self, sentence: str) -> Claim | None:
        for pattern, kind, (first, second) in self._patterns:
            match = pattern.fullmatch(sentence)
            if match is not None:
                said = {name: word for name, word in match.groupdict().items() if word}
                return Claim(kind, self._value(first, "a", said), self._value(second, "b", said))
        return None

    def _value(self, noun: Noun, letter: str, said: Mapping[str, str]) -> str:
        """What a word of a claim means, from the named groups of its pattern."""
        if not noun:
            return ""
        if noun != "thing":
            return self._words[noun][said[letter]]
        number = next(k for k in range(len(self._phrases)) if f"{letter}c{k}" in said)
        return f"{said[f'{letter}c{number}']} {self._kinds[said[f'{letter}k{number}']]}"


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))
