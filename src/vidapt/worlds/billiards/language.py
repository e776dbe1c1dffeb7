"""How a venue's people talk: the shape of a style, and the helpers that fill its templates.

A style changes words, never facts: the same claim can be said, and is understood, in every style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")


@dataclass(frozen=True)
class Style:
    """A way of phrasing.

    Attributes:
        name: What it is called.
        white: The white ball as the subject or object of a sentence.
        ball: A coloured ball likewise; `{c}` is its colour.
        pockets: What each pocket of `table.POCKETS` is called.
        sides: What each cushion of `table.SIDES` is called.
        sentences: Template by kind of claim; `{a}` and `{b}` are balls, `{at}` a pocket or a cushion.
        questions: Templates by question type; `{c}` is a colour, `{s}` a statement.
        answers: Template by question type and case, such as `which_pocket:yes`.
    """

    name: str
    white: str
    ball: str
    pockets: Mapping[str, str]
    sides: Mapping[str, str]
    sentences: Mapping[str, str]
    questions: Mapping[str, tuple[str, ...]]
    answers: Mapping[str, str]

    def call(self, ball: str) -> str:
        """The ball as a phrase, such as `the red ball`."""
        return self.white if ball == "white" else self.ball.format(c=ball)

    def place(self, name: str) -> str:
        """What a pocket or cushion is called here; other words are returned as they are."""
        return self.pockets.get(name, self.sides.get(name, name))

    def sentence(self, kind: str, subject: str = "", where: str = "") -> str:
        """Say one claim, without the full stop; `where` is a ball, a pocket or a cushion."""
        return self.sentences[kind].format(
            a=self.call(subject) if subject else "", b=self.call(where) if where else "", at=self.place(where)
        )

    def answer(self, key: str, words: Sequence[str] = ()) -> str:
        """Fill the answer template `key`; several words are joined as the style lists balls."""
        listed = " and ".join(self.answers["one"].format(c=word) for word in words)
        return self.answers[key].format(w=self.place(words[0]) if words else "", all=listed)
