"""How a venue's people talk about things of a colour and a kind: claims, and styles that phrase them.

A style changes words, never facts: the same claim can be said, and is understood, in all styles of a world.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Noun = str
"""What a word is about: `thing`, `number`, or the name of a table of words; empty for none."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Style:
    """A way of phrasing.

    Attributes:
        name: What it is called.
        thing: A thing as a phrase; `{c}` is its colour, `{k}` its kind.
        anything: What any thing is called, such as `part`.
        claims: Kinds of claims, and the nouns of their subject and their object; the same in all styles.
        words: What values are called, by noun (`kind` among them); other values are their own words.
        sentences: Template by kind of claim; `{a}` is its subject, `{b}` its object.
        questions: Templates by question type; `{a}` and `{b}` as above, `{c}` a colour, `{k}` a kind,
            `{s}` a statement.
        answers: Template by question type and case, such as `stopped:none`; `{w}` is a word, `{all}` a list.
    """

    name: str
    thing: str
    anything: str
    claims: Mapping[str, tuple[Noun, Noun]]
    words: Mapping[Noun, Mapping[str, str]]
    sentences: Mapping[str, str]
    questions: Mapping[str, tuple[str, ...]]
    answers: Mapping[str, str]

    def call(self, name: str) -> str:
        """A thing as a phrase, such as `the red disc`, from its name."""
        colour, _, kind = name.partition(" ")
        return self.thing.format(c=colour, k=self.words["kind"].get(kind, self.anything))

    def word(self, noun: Noun, value: str) -> str:
        """What a value is called."""
        if noun == "thing":
            return self.call(value)
        if noun == "number":
            return NUMBERS[int(value)]
        return self.words.get(noun, {}).get(value, value)

    def sentence(self, kind: str, subject: str = "", where: str = "") -> str:
        """Say one claim, without the full stop."""
        first, second = self.claims[kind]
        return self.sentences[kind].format(a=self.word(first, subject), b=self.word(second, where))

    def answer(self, key: str, noun: Noun = "", values: Sequence[str] = ()) -> str:
        """Fill the answer template `key` with values of one noun."""
        words = [self.word(noun, value) for value in values]
        return self.answers[key].format(w=words[0] if words else "", all=" and ".join(words))


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One thing said about a clip.

    Attributes:
        kind: A key of `Style.claims`, which says what the other two are.
        subject: What it is about; or empty. A thing may lack its kind, as in `red `.
        where: What that is said to be or have, where it is, or the other thing; or empty.
    """

    kind: str
    subject: str = ""
    where: str = ""

    def say(self, style: Style) -> str:
        """The claim as a sentence without its full stop."""
        return style.sentence(self.kind, self.subject, self.where)


def is_called(said: str, name: str) -> bool:
    """Whether a thing may be called so: by its name, or as `red ` by its colour."""
    return name.startswith(said) if said.endswith(" ") else said == name


def named(claim: Claim, claims: Mapping[str, tuple[Noun, Noun]], names: Iterable[str]) -> Claim:
    """A claim with things by their full names, where they were called by their colour alone."""

    def full(noun: Noun, said: str) -> str:
        if noun != "thing":
            return said
        return next((name for name in names if is_called(said, name)), said)

    names = list(names)
    first, second = claims[claim.kind]
    return Claim(claim.kind, full(first, claim.subject), full(second, claim.where))
