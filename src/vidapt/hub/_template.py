"""Chat templates are programs of others: run here with a fence around them.

A template may do what published templates do, and only so much of it: steps of loops and calls are counted,
and neither a text nor what a list holds, down to its innermost members, grows beyond a bound, so that it can
neither hang nor fill the memory. It reaches no file, and no attribute that could.
"""

from __future__ import annotations

import functools
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

LONGEST = 20_000
"""Letters of a template that is read; published ones have up to ten thousand."""

FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What compiling or running a template may raise."""

_STEPS = 20_000
"""Steps of all loops and calls; published templates take a few hundred for four turns."""

_LARGEST, _MOST = 50_000, 1_000_000
"""Letters of any text, or letters and members within any list, that a template makes; and of all that one run
of it makes."""

_WRITTEN = 10_000
"""Letters of a whole conversation; what is looked for in it takes time with their square."""

_SECONDS = 10.0
"""Of computing, for one run; published templates take thousandths. What is counted may still be slow."""

_WIDEST = 8
"""Spaces of indented JSON."""

_FILTERS = (
    *("default", "d", "dictsort", "first", "int", "items", "last", "length", "list", "lower", "map"),
    *("reject", "rejectattr", "select", "selectattr", "string", "title", "trim", "upper"),
)
_METHODS = (
    *("capitalize", "endswith", "get", "items", "keys", "lower", "lstrip"),
    *("removeprefix", "removesuffix", "rstrip", "split", "startswith", "strip", "title", "upper", "values"),
)


def render(template: str, variables: Mapping[str, Any], asked: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a template writes for each of several conversations.

    Args:
        template: Up to `LONGEST` letters.
        variables: What it finds beside each conversation.
        asked: Each conversation's own variables.

    Raises:
        Exception: One of `FAILURES`, if it is no template, raises one itself, wants too much, or writes what
            cannot be stored as UTF-8.
    """
    environment = _Fenced()
    with warnings.catch_warnings():
        # A published template misspells a mark with a backslash.
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled = environment.from_string(template)
    return [_text(environment, compiled, {**variables, **own}) for own in asked]


def _text(environment: _Fenced, template: Template, variables: Mapping[str, Any]) -> str:
    environment.begin()
    pieces: list[str] = []
    size = 0
    for piece in template.generate(**variables):
        size += len(piece)
        if size > _WRITTEN:
            raise SecurityError("writes more than any published template")
        environment.made(0, size)  # each piece is counted where it is written
        pieces.append(piece)
    text = "".join(pieces)
    text.encode()
    return text


class _Generation(Extension):
    """`{% generation %}`, which marks an answer for training; its content is written as it is."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counted(NodeTransformer):
    """Every loop counts its steps; what is written, joined by `~` or put into a list is looked at."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802 - named after the node
        self.generic_visit(node)
        # Also within `{% set %}` and macros, whose text is not written yet.
        written: list[nodes.Expr] = []
        for one in node.nodes:
            if isinstance(one, nodes.TemplateData):
                written += [_filtered(nodes.Const(len(one.data), lineno=node.lineno), "_room"), one]
            else:
                written.append(_filtered(one, "_written"))
        node.nodes = written
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_held")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_held")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_held") if node.ctx == "load" else node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - named after the node
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(list(node.nodes), lineno=node.lineno), "_concatenated")


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Space(Namespace):
    """A namespace that holds no other, so that what it holds can be looked at when it is put in."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        for name, value in values.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        _size(value)
        super().__setitem__(name, value)


def _size(value: Any) -> int:
    """Letters and members of a value, those within members counted wherever they stand."""
    size, left = 0, [value]
    while left:
        one = left.pop()
        size += 1 + (len(one) if isinstance(one, str) else 0)
        if isinstance(one, Namespace):
            raise SecurityError("no published template puts a namespace into anything")
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            left += one
        if size > _LARGEST or len(left) > _LARGEST:
            raise SecurityError("makes more than any published template")
    return size


class _Fenced(ImmutableSandboxedEnvironment):
    """One fence for one template, which counts what each run of it takes."""

    intercepted_binops = frozenset(("+", "*", "**", "%", "//"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        self.begin()
        known = self.filters
        self.globals = {"namespace": _Space, "raise_exception": _refuse}
        own = {"join": self._joined, "replace": self._replaced, "tojson": _as_json}
        kept = {**{name: known[name] for name in _FILTERS}, **own}
        self.filters = {
            **{name: self._looked_at(use) for name, use in kept.items()},
            "_counted": self._counted,
            "_concatenated": self._concatenated,
            "_held": self._held,
            "_room": self._room,
            "_written": self._written,
        }

    def begin(self) -> None:
        """Count anew."""
        self._steps = self._letters = 0
        self._until = time.thread_time() + _SECONDS

    def made(self, size: int, whole: int | None = None) -> None:
        """Count letters that were made, or are about to be; `whole` is the text that they belong to."""
        self._letters += size
        if max(size, whole or 0) > _LARGEST or self._letters > _MOST:
            raise SecurityError("makes more text than any published template")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        # Blocks, includes and the like lead to other templates; there are none.
        counted = _Counted().visit(tree)
        assert isinstance(counted, nodes.Template)
        return counted

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                self.made(_size(left) + _size(right))
            return left + right
        if operator == "%" and isinstance(left, int):  # turns of a conversation are counted by twos
            return left % right
        raise SecurityError(f"{operator} is not used by published templates")

    def call(self, context: Any, obj: Any, *arguments: Any, **named: Any) -> Any:
        self._step()
        given = (*arguments, *named.values())
        self.made(sum(_size(value) for value in given if not isinstance(value, Namespace)))
        return super().call(context, obj, *arguments, **named)

    def wrap_str_format(self, value: Any) -> None:
        """No text is filled in by `format`, which can be told to be of any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if callable(value) and not isinstance(obj, Mapping) and attr not in _METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def _counted(self, values: Any) -> Iterator[Any]:
        for value in values:
            self._step()
            yield value

    def call_filter(self, name: str, value: Any, *arguments: Any, **named: Any) -> Any:
        # Asked by `map` and the like, for every member.
        self._step()
        self.made(len(value) if isinstance(value, str) else 1)
        return super().call_filter(name, value, *arguments, **named)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _STEPS or time.thread_time() > self._until:
            raise SecurityError("takes more steps than any published template")

    def _looked_at(self, use: Callable[..., Any]) -> Callable[..., Any]:
        """A filter whose result is counted; what it is given has been."""

        @functools.wraps(use)
        def used(*arguments: Any, **named: Any) -> Any:
            self._step()
            found = use(*arguments, **named)
            self.made(_size(found) if isinstance(found, str | list | tuple) else 1)
            return found

        return used

    # These three are told the context for one reason: else they would be run when a template is compiled.

    @pass_context
    def _held(self, context: Any, value: Any) -> Any:
        self.made(_size(value))
        return value

    @pass_context
    def _room(self, context: Any, letters: int) -> str:
        self.made(letters)
        return ""

    @pass_context
    def _written(self, context: Any, value: Any) -> Any:
        text = value if isinstance(value, str) else str(value)
        self.made(len(text))
        return text

    def _concatenated(self, values: list[Any]) -> str:
        texts = [str(value) for value in values]
        self.made(sum(map(len, texts)))
        return "".join(texts)

    def _replaced(self, text: Any, old: str, new: str) -> str:
        before = str(text)
        self.made(len(before) + before.count(old) * len(new))
        return before.replace(old, new)

    def _joined(self, values: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        members = [value if attribute is None else self.getitem(value, attribute) for value in values]
        texts = [str(member) for member in members]
        self.made(sum(len(text) + len(d) for text in texts))
        return d.join(texts)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _as_json(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= _WIDEST:
        raise SecurityError("indents further than any published template")
    return json.dumps(value, ensure_ascii=False, indent=indent)
