"""YAML with line numbers, overrides, and validation errors in words."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from vidapt.errors import ConfigError, nearest

Key = str | int
Where = tuple[Key, ...]
_Model = TypeVar("_Model", bound=BaseModel)


MAX_NODES, MAX_DEPTH = 100_000, 50
"""Values in one document, aliases counted as often as they are used: a few lines can stand for billions. And
how deep they may lie in one another."""

_TOO_DEEP = f"more than {MAX_DEPTH} lists and mappings lie in one another"

_PLAIN = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")
)
_MERGE = "tag:yaml.org,2002:merge"


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
        return f"line {found}" if isinstance(found, int) else _override(found)


def short(text: str) -> str:
    """The beginning of a text that may be of any length."""
    return text if len(text) <= 100 else f"{text[:97]}..."


def _override(text: str) -> str:
    return f"override {short(text)!r}"


def parse_yaml(path: Path) -> tuple[Any, Lines]:
    """Read a YAML file into plain values and their line numbers.

    Raises:
        ConfigError: If the file is missing, is not YAML, names a key twice, contains itself, or holds
            anything but text, numbers, truths, lists and mappings.
    """
    lines = Lines()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give the path of a file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "is not text in UTF-8") from error
    found = _values(text, lambda line: f"{path}:{line}", lines)
    if found is None:
        raise ConfigError(path, "is empty")
    return found, lines


def _values(text: str, at: Callable[[int], str], lines: Lines) -> Any:
    """The plain values of a document, None if it is empty.

    Args:
        text: The document.
        at: Names a line of it in errors.
        lines: Learns where everything stands.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _Reader(at, lines).note(root, ())
        return loader.construct_document(root)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(at(line), f"is not valid YAML: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        # What the loader says of a value needs no introduction.
        intro = "" if isinstance(error, yaml.constructor.ConstructorError) else "is not valid YAML: "
        raise ConfigError(at(mark.line + 1 if mark else 1), intro + said) from error


class _Loader(yaml.SafeLoader):
    """Reads text, numbers, truths, lists and mappings, and nothing else; whatever it refuses has its line."""

    # Without dates, so that `name: 2024-01-01` is a name.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as its base has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN or tag == _MERGE]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One value and what is in it."""
        if self._depth == MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, _TOO_DEEP, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node."""
        if node.tag not in _PLAIN:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise _refused(
                node, f"{tag} is not read here; write text, a number, true, false, a list or a mapping"
            )
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
        # A tag can call anything a number or a truth; half a pair of UTF-16 is no text.
        except (ValueError, KeyError) as error:
            raise _refused(node, f"{short(str(node.value))!r} cannot be read: {short(str(error))}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(node, f"{node.value} is no finite number")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _refused(node, f"{short(node.value)} is too large a number")
        return value


# As JSON and newer YAML write numbers; else the `1e-05` of a run's `recipe.json` would come back as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _refused(node: yaml.Node, found: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, found, node.start_mark)


class _Reader:
    """Walks a YAML document once, noting lines and refusing what cannot be meant."""

    def __init__(self, at: Callable[[int], str], lines: Lines) -> None:
        self._at, self._lines = at, lines
        self._nodes = 0
        self._inside: set[int] = set()

    def note(self, node: yaml.Node, where: Where) -> None:
        """Note the lines of `node` and of everything in it."""
        self._nodes += 1
        if self._nodes > MAX_NODES or id(node) in self._inside:
            raise self._error(node, "its aliases make it endless or larger than any recipe")
        if len(self._inside) == MAX_DEPTH:  # again, since an alias can be as deep as the place it is used in
            raise self._error(node, _TOO_DEEP)
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
                raise self._error(key, f"the key {short(key.value)!r} stands here twice")
            seen.add(key.value)
            self.note(value, (*where, key.value))
            self._lines.note((*where, key.value), key.start_mark.line + 1)

    def _error(self, node: yaml.Node, found: str) -> ConfigError:
        return ConfigError(self._at(node.start_mark.line + 1), found)


def apply_overrides(data: Any, overrides: Sequence[str], lines: Lines) -> None:
    """Set `a.b.0.c=value` entries in place; values are read as YAML.

    Args:
        data: Plain values of a document.
        overrides: The entries.
        lines: Learns what an override set.

    Raises:
        ConfigError: If an override has no `=`, its value is no YAML, or it leads through something that is no
            mapping or list.
    """
    for text in overrides:
        place, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(_override(text), "has no `=`", "write key.subkey=value")
        _put(data, place, _values(value, lambda _, text=text: _override(text), Lines()), text, lines)  # type: ignore[misc]


def apply_given(data: Any, given: Mapping[str, Any], lines: Lines) -> None:
    """Set values in place as they are.

    Args:
        data: Plain values of a document.
        given: Plain values by their places, such as `a.b.0.c`.
        lines: Learns what was set.

    Raises:
        ConfigError: If a place leads through something that is no mapping or list.
    """
    for place, value in given.items():
        _put(data, place, value, f"{place}={value}", lines)


def _put(data: Any, place: str, value: Any, said: str, lines: Lines) -> None:
    try:
        where = _set(data, place.split("."), value)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(_override(said), f"cannot be applied: {error}") from error
    lines.note_override(where, said)


def _set(data: Any, path: Sequence[str], value: Any) -> Where:
    """Put a value at a path, making mappings on the way; returns the path with list indices as numbers."""
    target, where = data, tuple[Key, ...]()
    for depth, name in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(target, list):
            index = int(name)
            if not -len(target) <= index < len(target):
                place = ".".join(path[:depth])
                raise IndexError(f"{place} has {len(target)} entries, counted from 0")
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


def describe(
    error: ValidationError, model: type[BaseModel], lines: Lines, prefix: Where = (), *, partial: bool = False
) -> list[str]:
    """Each validation error as `line N: place: what is wrong`; of a `partial` one, nothing is missing."""
    items = [item for item in error.errors(include_url=False) if not _follows(item)]
    told = (item for item in items if not (partial and item["type"] == "missing"))
    return [_sentence(item, model, lines, prefix) for item in told]


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
    if item["type"].startswith("union_tag_"):
        return f"{line}: {place}: {_kind(item)}"
    found = "" if isinstance(item["input"], dict | list) else f" (found {short(repr(item['input']))})"
    return f"{line}: {place or 'recipe'}: {item['msg'].removeprefix('Value error, ')}{found}"


def _kind(item: Any) -> str:
    """What is wrong with the key that says of what kind a mapping is."""
    context = item["ctx"]
    key = context["discriminator"].strip("'")
    if item["type"] == "union_tag_not_found":
        return f"has no `{key}`, which says of what kind it is (a colon wants a space behind it)"
    kinds = [kind.strip("'") for kind in context["expected_tags"].split(", ")]
    return f"there is no {key} {short(repr(context['tag']))}; {nearest(str(context['tag']), kinds)}"


def validated(shape: type[_Model], data: Any, path: Path, lines: Lines) -> _Model:
    """What a file says, as settings.

    Args:
        shape: Of the settings.
        data: The file's plain values, with whatever was put in their place.
        path: The file.
        lines: Where its values stand.

    Raises:
        ConfigError: Naming every mistake with its line.
    """
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        problems = in_order(describe(error, shape, lines))
        raise ConfigError(path, f"{len(problems)} mistake(s)\n  " + "\n  ".join(problems)) from None


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
    return {field.alias or name for m in models for name, field in m.model_fields.items()}


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("policy")
    return field.default if field is not None else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    inner = typing.get_args(annotation)
    for argument in inner:
        yield from _models_in(argument)
    if not inner and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
