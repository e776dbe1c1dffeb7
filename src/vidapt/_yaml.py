"""YAML with line numbers, overrides, and validation errors in words."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from vidapt.errors import ConfigError, nearest

Key = str | int
Where = tuple[Key, ...]


class Lines:
    """Line number of each place in a YAML document."""

    def __init__(self) -> None:
        self._of: dict[Where, int] = {}

    def note(self, where: Where, line: int) -> None:
        """Remember the line of a place."""
        self._of[where] = line

    def of(self, where: Where) -> int:
        """Line of a place, or of the nearest place that contains it."""
        while where and where not in self._of:
            where = where[:-1]
        return self._of.get(where, 1)


def parse_yaml(path: Path) -> tuple[Any, Lines]:
    """Read a YAML file into plain values and their line numbers.

    Raises:
        ConfigError: If the file is missing, is not YAML, or names a key twice.
    """
    lines = Lines()
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give the path of a recipe") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "is not text in UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not valid YAML: {error}") from error
    if root is None:
        raise ConfigError(path, "is empty")
    _note_lines(root, (), lines, path)
    return yaml.safe_load(text), lines


def _note_lines(node: yaml.Node, where: Where, lines: Lines, path: Path) -> None:
    lines.note(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(
                    f"{path}:{key.start_mark.line + 1}", f"the key {key.value!r} stands here twice"
                )
            seen.add(key.value)
            _note_lines(value, (*where, key.value), lines, path)
            lines.note((*where, key.value), key.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*where, index), lines, path)


def apply_overrides(data: Any, overrides: Sequence[str]) -> None:
    """Set `a.b.0.c=value` entries in place; values are read as YAML.

    Raises:
        ConfigError: If an override has no `=` or leads through something that is no mapping or list.
    """
    for text in overrides:
        place, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"override {text!r}", "has no `=`", "write key.subkey=value")
        target = data
        *path, last = place.split(".")
        try:
            for key in path:
                target = target[int(key)] if isinstance(target, list) else target.setdefault(key, {})
            target[int(last) if isinstance(target, list) else last] = yaml.safe_load(value)
        except (TypeError, ValueError, IndexError, AttributeError, yaml.YAMLError) as error:
            raise ConfigError(f"override {text!r}", f"cannot be applied: {error}") from error


def describe(error: ValidationError, model: type[BaseModel], lines: Lines, prefix: Where = ()) -> list[str]:
    """Each validation error as `line N: place: what is wrong`."""
    return [_sentence(item, model, lines, prefix) for item in error.errors(include_url=False)]


def _sentence(item: Any, model: type[BaseModel], lines: Lines, prefix: Where) -> str:
    loc = tuple(item["loc"])
    place = ".".join(map(str, (*prefix, *loc)))
    line = lines.of((*prefix, *loc))
    if item["type"] == "extra_forbidden":
        return f"line {line}: {place}: unknown key; {nearest(str(loc[-1]), _fields_at(model, loc[:-1]))}"
    if item["type"] == "missing":
        return f"line {line}: {place}: is required"
    found = "" if isinstance(item["input"], dict | list) else f" (found {item['input']!r})"
    return f"line {line}: {place or 'recipe'}: {item['msg']}{found}"


def _fields_at(model: type[BaseModel], loc: Where) -> set[str]:
    """Names that would be understood at a place inside `model`."""
    models = {model}
    for key in loc:
        if any(key in m.model_fields for m in models):
            models = {
                inner
                for m in models
                if key in m.model_fields
                for inner in _models_in(m.model_fields[str(key)].annotation)
            }
        # Other keys are list indices and union tags: the models stay the same.
        tagged = {m for m in models if _tag(m) == key}
        models = tagged or models
    return {name for m in models for name in m.model_fields}


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("policy")
    return field.default if field is not None else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
