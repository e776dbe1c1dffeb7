"""Phrases questions in one style, and knows every answer that the others would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

import numpy as np

from vidapt.worlds.asked import QA, normalise
from vidapt.worlds.phrases import NUMBERS, Claim, Noun, Style

_YES_NO = {
    "yes": ("yes", "true", "right", "correct"),
    "no": ("no", "false", "wrong", "incorrect"),
}


class Asker:
    """Asks in one style.

    Args:
        style: How.
        styles: All styles of the world; their answers count as right, too.
        rng: Draws the wordings.
    """

    def __init__(self, style: Style, styles: Mapping[str, Style], rng: np.random.Generator) -> None:
        self.style, self.rng = style, rng
        self._styles = styles.values()

    def wording(self, kind: str, **slots: str) -> str:
        """A question of a type."""
        options = self.style.questions[kind]
        return options[int(self.rng.integers(len(options)))].format(**slots)

    def pick(self, options: Sequence[str]) -> str:
        """Draw one of some words."""
        return options[int(self.rng.integers(len(options)))]

    def qa(
        self,
        kind: str,
        value: str,
        noun: Noun = "",
        values: Sequence[str] = (),
        *,
        key: str | None = None,
        question: str | None = None,
        extra: Iterable[str] = (),
        bare: bool = True,
    ) -> QA:
        """Answer with the template `key`; any style's wording of it is accepted, in any order of `values`.

        A single value is accepted without the template, too, if `bare`.
        """
        key = kind if key is None else key
        orders = [values] if len(values) < 2 else list(permutations(values))[:24]
        accept = {normalise(style.answer(key, noun, order)) for style in self._styles for order in orders}
        if noun and len(values) == 1 and bare:
            accept |= {normalise(style.word(noun, values[0])) for style in self._styles}
        accept |= {normalise(value), *map(normalise, extra)}
        question = self.wording(kind) if question is None else question
        return QA(kind, question, self.style.answer(key, noun, values), value, tuple(sorted(accept)))

    def one(self, kind: str, noun: Noun, value: str, **slots: str) -> QA:
        """A question answered by one word."""
        return self.qa(kind, value, noun, [value], question=self.wording(kind, **slots))

    def number(self, kind: str, number: int) -> QA:
        """A question answered by a number."""
        return self.qa(kind, str(number), "number", [str(number)], extra=[NUMBERS[number]])

    def yes_no(self, kind: str, yes: bool, question: str, keys: tuple[str, str] = ("yes", "no")) -> QA:
        """A question answered by the first of two templates, or by the second."""
        value = "yes" if yes else "no"
        return self.qa(kind, value, key=keys[not yes], question=question, extra=_YES_NO[value])

    def things(self, kind: str, names: Sequence[str], question: str | None = None) -> QA:
        """A question answered by naming things, sorted so that one set of things has one answer."""
        ordered = sorted(dict.fromkeys(names))
        if not ordered:
            nothing = (f"no {self.style.anything}", "nothing", "none")
            return self.qa(kind, "none", key="things:none", question=question, extra=nothing)
        alone = [ordered[0].partition(" ")[0]] if len(ordered) == 1 else []
        extra = [f"{the}{colour}{one}" for colour in alone for the in ("", "the ") for one in ("", " one")]
        value = ",".join(ordered)
        return self.qa(kind, value, "thing", ordered, key="things:some", question=question, extra=extra)

    def statements(self, pairs: Iterable[tuple[Claim, Claim]]) -> list[QA]:
        """True statements, each followed by the false one that differs from it in one word."""
        return [
            self.yes_no(
                "true_false", yes, self.wording("true_false", s=claim.say(self.style)), ("true", "false")
            )
            for pair in pairs
            for claim, yes in zip(pair, (True, False), strict=True)
        ]

    def text(self, kind: str, claims: Iterable[Claim]) -> QA:
        """A question answered by a text of some claims."""
        text = " ".join(f"{claim.say(self.style)}." for claim in claims)
        return QA(kind, self.wording(kind), text, "text", (normalise(text),))
