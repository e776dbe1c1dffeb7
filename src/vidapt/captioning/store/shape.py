"""Answers that are to be JSON of a schema: whether they are, and asking once more."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, nearest

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_TOLD = frozenset({"title", "description", "$schema", "$id", "examples", "default"})
_CHECKED = frozenset(
    {
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
    }
)
_SHOWN = 200
"""Letters of an answer that a model is told when it is asked once more."""


@dataclass(frozen=True)
class Schema:
    """What an answer is to be.

    Attributes:
        value: The schema, of the keywords `type`, `enum`, `const`, `properties`, `required`,
            `additionalProperties`, `items`, and bounds of items, letters and numbers.
    """

    value: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Schema:
        """Read a schema, a JSON object.

        Raises:
            ConfigError: If it cannot be read, or has keywords that are not checked.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(path, f"cannot be read ({error.strerror})", "check the path") from None
        except ValueError as error:
            raise ConfigError(path, f"is no JSON ({error})", "write a JSON schema") from None
        _check(value, path, "the schema")
        return cls(value)

    def mistake(self, text: str) -> str | None:
        """What is wrong with an answer; None if nothing is."""
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return f"it is no JSON ({error})"
        return _mistake(value, self.value, "it")

    def once_more(self, question: str, text: str, reason: str) -> str:
        """The question as it is asked after an answer that was not of the schema."""
        schema = json.dumps(self.value, ensure_ascii=False)
        return (
            f"{question}\nThe answer {text[:_SHOWN]!r} is not usable: {reason}. "
            f"Answer with JSON alone, of this schema: {schema}"
        )


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check(schema: Any, path: Path, where: str) -> None:
    if not isinstance(schema, dict):
        raise ConfigError(path, f"{where} is no object", "write a JSON schema")
    for word in schema:
        if word not in _CHECKED | _TOLD:
            raise ConfigError(path, f"{where} has {word!r}, which is not checked", nearest(word, _CHECKED))
    kinds = _kinds(schema)
    for kind in kinds:
        if kind not in _KINDS:
            raise ConfigError(path, f"{where} is of type {kind!r}", nearest(str(kind), _KINDS))
    for name, inner in schema.get("properties", {}).items():
        _check(inner, path, f"{where}.{name}")
    if "items" in schema:
        _check(schema["items"], path, f"{where}[]")


def _kinds(schema: Mapping[str, Any]) -> list[Any]:
    kind = schema.get("type", [])
    return kind if isinstance(kind, list) else [kind]


def _mistake(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    """The first thing that is wrong."""
    kinds = _kinds(schema)
    if kinds and not any(_KINDS[kind](value) for kind in kinds):
        return f"{where} is not of type {' or '.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        return f"{where} is not {schema['const']!r}"
    if isinstance(value, dict):
        return _of_object(value, schema, where)
    if isinstance(value, list):
        wrong = _of_size(len(value), schema, "Items", f"the number of entries of {where}")
        inner = (_mistake(one, schema.get("items", {}), f"{where}[{at}]") for at, one in enumerate(value))
        return wrong or next(filter(None, inner), None)
    if isinstance(value, str):
        return _of_size(len(value), schema, "Length", f"the length of {where}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _within(value, schema.get("minimum"), schema.get("maximum"), where)
    return None


def _of_object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            return f"{where} has no {name!r}"
    if schema.get("additionalProperties") is False and (other := sorted(value.keys() - known.keys())):
        return f"{where} has {other[0]!r}, which is not asked for"
    inner = (_mistake(value[name], known[name], f"{where}.{name}") for name in known if name in value)
    return next(filter(None, inner), None)


def _of_size(size: int, schema: Mapping[str, Any], what: str, where: str) -> str | None:
    return _within(size, schema.get(f"min{what}"), schema.get(f"max{what}"), where)


def _within(value: float, least: float | None, most: float | None, where: str) -> str | None:
    if least is not None and value < least:
        return f"{where} is {value}, below {least}"
    return f"{where} is {value}, above {most}" if most is not None and value > most else None
