"""Chat templates are programs of others: run here with a fence around them.

A template may do what published templates do, and only so much of it: steps of loops and calls are counted,
and no text grows beyond a bound, so that it can neither hang nor fill the memory. It reaches no file, and no
attribute that could.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

LONGEST = 20_000
"""Letters of a template that is read; published ones have up to ten thousand."""

FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What compiling or running a template may raise."""

_STEPS = 20_000
"""Steps of all loops and calls; published templates take a few hundred for four turns."""

_LARGEST, _MOST = 50_000, 1_000_000
"""Letters of any text, or members of any list, that a template makes; and of all that one run of it makes."""

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
        Exception: One of `FAILURES`, if it is no template, raises one itself, or wants too much.
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
        environment.made(len(piece), size)
        pieces.append(piece)
    return "".join(pieces)


class _Generation(Extension):
    """`{% generation %}`, which marks an answer for training; its content is written as it is."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counted(NodeTransformer):
    """Every loop counts its steps, and `~` looks at what it makes."""

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


class _Fenced(ImmutableSandboxedEnvironment):
    """One fence for one template, which counts what each run of it takes."""

    intercepted_binops = frozenset(("+", "*", "**", "%", "//"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        self.begin()
        known = self.filters
        self.globals = {"namespace": self.globals["namespace"], "raise_exception": _refuse}
        self.filters = {
            **{name: known[name] for name in _FILTERS},
            "join": self._joined,
            "replace": self._replaced,
            "tojson": _as_json,
            "_counted": self._counted,
            "_concatenated": self._concatenated,
        }

    def begin(self) -> None:
        """Count anew."""
        self._steps = self._letters = 0

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
                self.made(len(left) + len(right))
            return left + right
        if operator == "%" and isinstance(left, int):  # turns of a conversation are counted by twos
            return left % right
        raise SecurityError(f"{operator} is not used by published templates")

    def call(self, context: Any, obj: Any, *arguments: Any, **named: Any) -> Any:
        self._step()
        return super().call(context, obj, *arguments, **named)

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
        if self._steps > _STEPS:
            raise SecurityError("takes more steps than any published template")

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
