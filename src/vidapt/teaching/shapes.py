"""What a teacher's answers in JSON have to be like."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, field_validator

from vidapt.json_replies import Shape


def _short(most: int) -> Any:
    def check(text: str) -> str:
        text = " ".join(text.split())
        if len(text) > most:
            raise ValueError(f"is longer than {most} letters")
        return text

    return AfterValidator(check)


def _said(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


_Words = Annotated[str, _short(300)]
_Sentence = Annotated[str, _short(4000), AfterValidator(_said)]


class Stated(Shape):
    """A fact as a teacher states it.

    Attributes:
        subject: Who or what.
        predicate: What it does or is.
        object: To whom or what; may be empty.
        attributes: Colours, numbers, ways.
        start_s: When it begins, in seconds from where the clip begins.
        end_s: When it ends.
        visibility: How well it can be seen.
    """

    subject: Annotated[str, _short(300), AfterValidator(_said)]
    predicate: _Words
    object: _Words = ""
    attributes: tuple[_Words, ...] = ()
    start_s: float = 0.0
    end_s: float = 0.0
    visibility: Literal["clear", "partly", "unsure"] = "clear"

    @field_validator("start_s", "end_s")
    @classmethod
    def _a_moment(cls, moment: float) -> float:
        if not math.isfinite(moment):
            raise ValueError("is no moment")
        return max(0.0, moment)

    @property
    def words(self) -> str:
        """All of it but when."""
        return " ".join(filter(None, (self.subject, self.predicate, self.object, *self.attributes)))


class FactsAnswer(Shape):
    """Facts of a stretch."""

    facts: tuple[Stated, ...]


class Clause(Shape):
    """A part of a caption, with the facts that it tells."""

    text: _Sentence
    facts: tuple[Annotated[str, _short(20)], ...]


class WrittenAnswer(Shape):
    """A caption in clauses."""

    clauses: tuple[Clause, ...]


class AskedAnswer(Shape):
    """A question with its answer, and the facts that it rests on."""

    question: _Sentence
    answer: _Sentence
    type: Annotated[str, _short(40)] = ""
    facts: tuple[Annotated[str, _short(20)], ...]


class QuestionsAnswer(Shape):
    """Questions about a clip."""

    questions: tuple[AskedAnswer, ...]
