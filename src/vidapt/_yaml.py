"""YAML with line numbers, overrides, and validation errors in words."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from vidapt.errors import ConfigError, nearest

Key = str | int
Where = tuple[Key, ...]


MAX_NODES = 100_000
"""Values in one document, aliases counted as often as they are used: a few lines can stand for billions."""


class Lines:
    """Line number of each place in a YAML document, or the override that set it."""

    def __init__(self) -> None:
        self._of: dict[Where, int | str] = {}

    def note(self, where: Where, line: int) -> None:
        """Remember the line of a place."""
        self._of[where] = line

    def note_override(self, where: Where, text: str) -> None:
        """Remember that a place was set by an override, and forget the lines of what it replaced."""
        self._of = {place: line for place, line in self._of.items() if place[: len(where)] != where}
        self._of[where] = text

    def label(self, where: Where) -> str:
        """`line N` (or the override) of a place, or of the nearest place that contains it."""
        while where and where not in self._of:
            where = where[:-1]
        found = self._of.get(where, 1)
        return f"line {found}" if isinstance(found, int) else f"override {found!r}"


def parse_yaml(path: Path) -> tuple[Any, Lines]:
    """Read a YAML file into plain values and their line numbers.

    Raises:
        ConfigError: If the file is missing, is not YAML, names a key twice, or contains itself.
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
    _Reader(path, lines).note(root, ())
    return yaml.safe_load(text), lines


class _Reader:
    """Walks a YAML document once, noting lines and refusing what cannot be meant."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self._path, self._lines = path, lines
        self._nodes = 0
        self._inside: set[int] = set()

    def note(self, node: yaml.Node, where: Where) -> None:
        """Note the lines of `node` and of everything in it."""
        self._nodes += 1
        if self._nodes > MAX_NODES or id(node) in self._inside:
            raise self._error(node, "its aliases make it endless or larger than any recipe")
        self._lines.note(where, node.start_mark.line + 1)
        self._inside.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, where)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.note(value, (*where, index))
        self._inside.remove(id(node))

    def _mapping(self, node: yaml.MappingNode, where: Where) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key must be a word")
            if key.value in seen:
                raise self._error(key, f"the key {key.value!r} stands here twice")
            seen.add(key.value)
            self.note(value, (*where, key.value))
            self._lines.note((*where, key.value), key.start_mark.line + 1)

    def _error(self, node: yaml.Node, found: str) -> ConfigError:
        return ConfigError(f"{self._path}:{node.start_mark.line + 1}", found)


def apply_overrides(data: Any, overrides: Sequence[str], lines: Lines) -> None:
    """Set `a.b.0.c=value` entries in place; values are read as YAML.

    Args:
        data: Plain values of a document.
        overrides: The entries.
        lines: Learns what an override set.

    Raises:
        ConfigError: If an override has no `=` or leads through something that is no mapping or list.
    """
    for text in overrides:
        place, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"override {text!r}", "has no `=`", "write key.subkey=value")
        try:
            where = _set(data, place.split("."), yaml.safe_load(value))
        except (TypeError, ValueError, IndexError, AttributeError, yaml.YAMLError) as error:
            raise ConfigError(f"override {text!r}", f"cannot be applied: {error}") from error
        lines.note_override(where, text)


def _set(data: Any, path: Sequence[str], value: Any) -> Where:
    """Put a value at a path, making mappings on the way; returns the path with list indices as numbers."""
    target, where = data, tuple[Key, ...]()
    for depth, name in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(target, list):
            index = int(name)
            where = (*where, index)
            if last:
                target[index] = value
            target = target[index]
        else:
            where = (*where, name)
            if last:
                target[name] = value
            target = target.setdefault(name, {})
    return where


def describe(error: ValidationError, model: type[BaseModel], lines: Lines, prefix: Where = ()) -> list[str]:
    """Each validation error as `line N: place: what is wrong`."""
    items = error.errors(include_url=False)
    return [_sentence(item, model, lines, prefix) for item in items if not _follows(item)]


def _follows(item: Any) -> bool:
    """Whether a list only counts as too short because its entries, which are reported, do not count."""
    return item["type"] == "too_short" and bool(item["input"])


def _sentence(item: Any, model: type[BaseModel], lines: Lines, prefix: Where) -> str:
    loc = tuple(item["loc"])
    place = ".".join(map(str, (*prefix, *loc)))
    line = lines.label((*prefix, *loc))
    if item["type"] == "extra_forbidden":
        return f"{line}: {place}: unknown key; {nearest(str(loc[-1]), _fields_at(model, loc[:-1]))}"
    if item["type"] == "missing":
        return f"{line}: {place}: is required"
    found = "" if isinstance(item["input"], dict | list) else f" (found {item['input']!r})"
    return f"{line}: {place or 'recipe'}: {item['msg'].removeprefix('Value error, ')}{found}"


def in_order(problems: Iterable[str]) -> list[str]:
    """Problems by their line, those of overrides first, each once."""

    def line(problem: str) -> int:
        head = problem.removeprefix("line ").partition(":")[0]
        return int(head) if head.isdigit() else 0

    return sorted(dict.fromkeys(problems), key=line)


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
    inner = typing.get_args(annotation)
    for argument in inner:
        yield from _models_in(argument)
    if not inner and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
