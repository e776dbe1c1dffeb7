"""JSON that models are asked for: its schema, and reading it from whatever stands around it."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

MOST_LETTERS = 1 << 18
"""Of an answer that is read."""

_FENCE = re.compile(r"^\s*```[\w-]*\s*|\s*```\s*$")
_T = TypeVar("_T", bound="Shape")


class UnreadableError(Exception):
    """An answer that is not what it was to be."""


class Shape(BaseModel):
    """Base of all; keys that nobody asked for are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def plain_word(value: Any) -> Any:
    """A word without capitals and spaces around it, for fields of few values; anything else as it is."""
    return value.strip().lower() if isinstance(value, str) else value


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
        UnreadableError: Saying what is wrong, in words that the model can be told.
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
