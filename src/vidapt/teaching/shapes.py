"""What answers in JSON have to be like, and reading them from whatever stands around them."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator

MOST_LETTERS = 1 << 18
"""Of an answer that is read."""

_FENCE = re.compile(r"^\s*```[\w-]*\s*|\s*```\s*$")
_T = TypeVar("_T", bound="Shape")


class UnreadableError(Exception):
    """An answer that is not what it was to be."""


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


class Shape(BaseModel):
    """Base of all; keys that nobody asked for are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


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


def schema_of(shape: type[Shape]) -> dict[str, Any]:
    """Its JSON schema, strict as servers want it: every key required and no other."""
    found: dict[str, Any] = _strict(shape.model_json_schema())
    return found


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _strict(value) for key, value in node.items() if key not in ("default", "description")}
    if isinstance(node.get("properties"), dict):
        kept["properties"] = {name: _strict(one) for name, one in node["properties"].items()}
        kept |= {"required": list(node["properties"]), "additionalProperties": False}
    return kept


def parsed(text: str, shape: type[_T]) -> _T:
    """Read an answer.

    Args:
        text: It may stand in a code block, or behind some words.
        shape: What it is to be.

    Raises:
        UnreadableError: Saying what is wrong, in words that the teacher can be told.
    """
    if len(text) > MOST_LETTERS:
        raise UnreadableError(f"it is longer than {MOST_LETTERS} letters")
    inner = _FENCE.sub("", text)
    start = inner.find("{")
    if start < 0:
        raise UnreadableError("it holds no JSON object")
    try:
        value, _ = json.JSONDecoder().raw_decode(inner, start)
        return shape.model_validate(value)
    except RecursionError:
        raise UnreadableError("it lies too deep") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise UnreadableError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise UnreadableError(f"it is no JSON: {error}") from None
