"""How a venue's people talk: the shape of a style, and the helpers that fill its templates.

A style changes words, never facts: the same claim can be said, and is understood, in every style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Noun = Literal["", "part", "kind", "colour", "belt", "way", "size", "defect", "number"]
"""What a word of a claim is about."""

CLAIMS: dict[str, tuple[Noun, Noun]] = {
    "enter": ("part", "belt"),
    "leave": ("part", "belt"),
    "rides": ("part", "belt"),
    "first_out": ("part", ""),
    "overtake": ("part", "part"),
    "touch": ("part", "part"),
    "hold": ("part", ""),
    "fall": ("part", ""),
    "push": ("part", "belt"),
    "pick": ("part", ""),
    "flaw": ("part", "defect"),
    "sound": ("part", ""),
    "size": ("part", "size"),
    "absent": ("part", ""),
    "stop": ("belt", ""),
    "start": ("belt", ""),
    "runs": ("belt", "way"),
    "fastest": ("belt", ""),
    "count": ("number", ""),
    "belts": ("number", ""),
    "none_flawed": ("", ""),
    "no_touch": ("", ""),
    "no_fall": ("", ""),
    "no_stop": ("", ""),
    "idle": ("", ""),
    "quiet": ("", ""),
}
"""Kinds of claims, and what their subject and their object are."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Style:
    """A way of phrasing.

    Attributes:
        name: What it is called.
        part: A part as a phrase; `{c}` is its colour, `{k}` its kind.
        thing: What any part is called, such as `part`.
        kinds: What each of `line.KINDS` is called.
        belts: What each of `line.BELTS` is called, without the word for belt.
        sizes: What each size is called.
        defects: What each defect is called, with its article.
        sentences: Template by kind of claim; `{a}` is its subject, `{b}` its object.
        questions: Templates by question type; `{a}` and `{b}` as above, `{c}` a colour, `{k}` a kind,
            `{s}` a statement.
        answers: Template by question type and case, such as `stopped:none`; `{w}` is a word, `{all}` a list.
    """

    name: str
    part: str
    thing: str
    kinds: Mapping[str, str]
    belts: Mapping[str, str]
    sizes: Mapping[str, str]
    defects: Mapping[str, str]
    sentences: Mapping[str, str]
    questions: Mapping[str, tuple[str, ...]]
    answers: Mapping[str, str]

    def call(self, name: str) -> str:
        """A part as a phrase, such as `the red disc`, from its name."""
        colour, _, kind = name.partition(" ")
        return self.part.format(c=colour, k=self.kinds.get(kind, self.thing))

    def word(self, noun: Noun, value: str) -> str:
        """What a value is called; colours and ways are called alike everywhere."""
        if noun == "part":
            return self.call(value)
        if noun == "number":
            return NUMBERS[int(value)]
        tables = {"kind": self.kinds, "belt": self.belts, "size": self.sizes, "defect": self.defects}
        return tables[noun][value] if noun in tables else value

    def sentence(self, kind: str, subject: str = "", where: str = "") -> str:
        """Say one claim, without the full stop."""
        first, second = CLAIMS[kind]
        return self.sentences[kind].format(a=self.word(first, subject), b=self.word(second, where))

    def answer(self, key: str, noun: Noun = "", values: Sequence[str] = ()) -> str:
        """Fill the answer template `key` with values of one kind."""
        words = [self.word(noun, value) for value in values]
        return self.answers[key].format(w=words[0] if words else "", all=" and ".join(words))
