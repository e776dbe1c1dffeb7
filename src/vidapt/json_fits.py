"""Whether JSON fits a schema, of the part of JSON Schema that says what a short answer is.

Schemas come from users and from clients. Nothing is fetched and no expression of theirs is run: `$ref` and
`pattern` are refused, as every key is that would be passed over otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_DEEPEST, _LARGEST = 16, 2000

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_ABOUT = frozenset({"title", "description", "default", "examples", "$schema", "$id"})
_LENGTHS: Mapping[str, tuple[type, str, int]] = {
    "minItems": (list, "entries", 1),
    "maxItems": (list, "entries", -1),
    "minLength": (str, "letters", 1),
    "maxLength": (str, "letters", -1),
}
_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("above", lambda value, bound: value > bound),
    "exclusiveMaximum": ("below", lambda value, bound: value < bound),
}
_OTHERS = frozenset(
    {"type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items"}
)


class SchemaError(ValueError):
    """A schema that answers cannot be held against."""


def check_schema(schema: Any) -> None:
    """See that a schema can be held against answers.

    Raises:
        SchemaError: If it says something that is not known here.
    """
    if _check(schema, 0) > _LARGEST:
        raise SchemaError(f"a schema of more than {_LARGEST} parts is not read")


def _check(schema: Any, depth: int) -> int:
    if isinstance(schema, bool) and depth:
        return 1
    if not isinstance(schema, dict) or depth > _DEEPEST:
        raise SchemaError(f"a schema is an object, and at most {_DEEPEST} deep")
    unknown = schema.keys() - _ABOUT - _OTHERS - _LENGTHS.keys() - _BOUNDS.keys()
    if unknown:
        raise SchemaError(f"schemas with {sorted(unknown)[0][:40]!r} are not known here")
    for key in schema.keys() - _ABOUT:
        if not _SOUND[key](schema[key]):
            raise SchemaError(f"{key!r} of a schema has no such value")
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    inner += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return 1 + sum(_check(one, depth + 1) for one in inner)


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in _TYPES for name in names)


_SOUND: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": lambda value: isinstance(value, list) and bool(value),
    "const": lambda _: True,
    "anyOf": lambda value: isinstance(value, list) and bool(value),
    "properties": lambda value: isinstance(value, dict),
    "required": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "additionalProperties": lambda value: isinstance(value, bool | dict),
    "items": lambda value: isinstance(value, bool | dict),
    **dict.fromkeys(_LENGTHS, lambda value: _TYPES["integer"](value) and value >= 0),
    **dict.fromkeys(_BOUNDS, _TYPES["number"]),
}


def misfit(value: Any, schema: Any, where: str = "it") -> str | None:
    """What is wrong with a value, in words that a model can be told; None if it fits a checked schema."""
    if isinstance(schema, bool):
        return None if schema else f"{where} may not be there"
    for check in (_of_kind, _of_size, _of_object, _of_list):
        if (reason := check(value, schema, where)) is not None:
            return reason
    return None


def _of_kind(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_TYPES[name](value) for name in names):
            return f"{where} is not of type {' or '.join(names)}"
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is not None and not any(_same(value, one) for one in allowed):
        return f"{where} is none of {json.dumps(allowed)[:200]}"
    options = schema.get("anyOf", [])
    reasons = [misfit(value, one, where) for one in options]
    return reasons[0] if reasons and None not in reasons else None


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return value == other and json.dumps(value) == json.dumps(other)


def _of_size(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    for key, (kind, unit, sign) in _LENGTHS.items():
        if key in schema and isinstance(value, kind) and sign * (len(value) - schema[key]) < 0:  # type: ignore[arg-type]
            return f"{where} has {len(value)} {unit}, {key} is {schema[key]}"  # type: ignore[arg-type]
    if not _TYPES["number"](value):
        return None
    bad = [key for key, (_, holds) in _BOUNDS.items() if key in schema and not holds(value, schema[key])]
    return f"{where} is to be {_BOUNDS[bad[0]][0]} {schema[bad[0]]}" if bad else None


def _of_object(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return None
    missing = [key for key in schema.get("required", []) if key not in value]
    if missing:
        return f"{where} lacks {missing[0]}"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    reasons = (misfit(one, known.get(key, others), f"{where}.{key}") for key, one in value.items())
    return next((reason for reason in reasons if reason is not None), None)


def _of_list(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    if not isinstance(value, list):
        return None
    rule = schema.get("items", True)
    reasons = (misfit(one, rule, f"{where}[{index}]") for index, one in enumerate(value))
    return next((reason for reason in reasons if reason is not None), None)


def read_json(text: str, schema: Mapping[str, Any]) -> tuple[str, str | None]:
    """JSON out of an answer.

    Args:
        text: It may stand in a code block, or behind some words.
        schema: A checked one.

    Returns:
        The JSON alone, and what is wrong with it (with an empty text where there is none).
    """
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=0)
    try:
        value, end = json.JSONDecoder(parse_constant=_no_number).raw_decode(text, start)
    except (ValueError, RecursionError):
        return "", "it is no JSON"
    return text[start:end], misfit(value, schema)


def misfit_of(text: str, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with an answer that is to be JSON alone; None if it fits a checked schema."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return misfit(value, schema)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
