"""The small changes that tests should notice: each takes one place of a module and gives another program."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
SAID = ("ConfigError", "CheckpointError", "FormatError", "VidaptError", "BrokenClip", "ValueError", "warn")
"""Calls whose words are for people; what they say is not what a change is about."""


_AXES = """
all amax amin any argmax argmin chunk cumsum flatten log_softmax logsumexp max mean min norm scatter_ softmax
sort split sum topk unsqueeze
"""
AXES = frozenset(_AXES.split())
"""Methods whose positional numbers are axes."""
EXAMPLES = "tiny"
"""Functions that make the smallest instance of a part: any other small one would do as well."""


@dataclass(frozen=True)
class Mutant:
    """A changed place.

    Attributes:
        path: The module's file.
        function: The dotted name of the innermost function or class around it; empty in the module itself.
        line: Where it stands.
        kind: What was done to it.
        was: The place's text before.
        number: Its number among all changes of the module, by which `changed` finds it.
    """

    path: Path
    function: str
    line: int
    kind: str
    was: str
    number: int

    @property
    def name(self) -> str:
        """As a person reads it."""
        return f"{self.path.as_posix()}:{self.line} {self.function or 'module'}: {self.kind} `{self.was}`"


Change = tuple[str, ast.AST, Callable[[], None]]
"""What is done, where, and the doing of it to the tree."""


def mutants(path: Path, root: Path) -> list[Mutant]:
    """Every change of a module, whose path is told from `root`."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    found = []
    for number, (function, (kind, node, _)) in enumerate(_changes(tree)):
        was = ast.unparse(node).splitlines()[0][:90]
        found.append(Mutant(path, function, getattr(node, "lineno", 0), kind, was, number))
    return found


def changed(source: str, number: int) -> ast.Module:
    """A module's tree with one of its changes made; below 0 with none."""
    tree = ast.parse(source)
    if number < 0:
        return tree
    for index, (_, (_, _, make)) in enumerate(_changes(tree)):
        if index == number:
            make()
            return ast.fix_missing_locations(tree)
    raise IndexError(number)


def _changes(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    yield from _inside(tree, "")


def _inside(node: ast.AST, function: str) -> Iterator[tuple[str, Change]]:
    """The changes of a node's children, and of theirs, without words for people and annotations."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_words(child) or _is_guard(child):
                continue
            if isinstance(child, ast.FunctionDef) and child.name == EXAMPLES:
                continue
            inner = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                inner = f"{function}.{child.name}" if function else child.name
            put = _setter(node, field, index if isinstance(value, list) else None)
            if not _is_axis(node, field, child):
                for change in _of(child, put):
                    yield inner, change
            yield from _inside(child, inner)


def _is_words(node: ast.AST) -> bool:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr | ast.Assert | ast.AnnAssign) and not (
        isinstance(node, ast.AnnAssign) and node.value is not None
    ):
        return True
    called = node.func if isinstance(node, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
    return name in SAID


def _is_guard(node: ast.AST) -> bool:
    """Whether it only asks a library to complain: without it a sound program does the same."""
    return isinstance(node, ast.keyword) and node.arg in ("strict", "encoding")


def _is_axis(parent: ast.AST, field: str, node: ast.AST) -> bool:
    """Whether it is an axis counted from behind, whose sign names the same axis of a matrix otherwise."""
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.operand, ast.Constant):
        return False
    if isinstance(parent, ast.keyword):
        return parent.arg in ("dim", "axis")
    of_method = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute)
    return of_method and field == "args" and parent.func.attr in AXES  # type: ignore[attr-defined]


def _setter(parent: ast.AST, field: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(new: ast.AST) -> None:
        if index is None:
            setattr(parent, field, new)
        else:
            getattr(parent, field)[index] = new

    return put


def _of(node: ast.AST, put: Callable[[ast.AST], None]) -> Iterator[Change]:
    """What can be done to one node."""
    if isinstance(node, ast.expr):
        yield from _of_value(node, put)
    else:
        yield from _of_step(node, put)


def _of_value(node: ast.expr, put: Callable[[ast.AST], None]) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BinOp) and type(node.op) in COUNTED:
        yield from _counted(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", node, lambda: setattr(node, "op", other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "drop the sign", node, lambda: put(node.operand)
    elif isinstance(node, ast.Constant):
        yield from _valued(node)
    elif isinstance(node, ast.IfExp):
        yield from _chosen(node)
    elif isinstance(node, ast.Call):
        yield from _called(node)


def _of_step(node: ast.AST, put: Callable[[ast.AST], None]) -> Iterator[Change]:
    if isinstance(node, ast.AugAssign) and type(node.op) in COUNTED:
        yield from _counted(node)
    elif isinstance(node, ast.If):
        yield from _chosen(node)
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "return None", node, lambda: setattr(node, "value", ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "drop the call", node, lambda: put(ast.Pass())
    elif isinstance(node, ast.Continue | ast.Break):
        yield "go on", node, lambda: put(ast.Pass())
    elif isinstance(node, ast.Raise):
        yield "drop the error", node, lambda: put(ast.Pass())


def _chosen(node: ast.If | ast.IfExp) -> Iterator[Change]:
    yield "never", node.test, lambda: setattr(node, "test", ast.Constant(False))
    yield "always", node.test, lambda: setattr(node, "test", ast.Constant(True))


def _compared(node: ast.Compare) -> Iterator[Change]:
    for index, operator in enumerate(node.ops):
        other = COMPARED[type(operator)]()

        def make(index: int = index, other: ast.cmpop = other) -> None:
            node.ops[index] = other

        yield "other comparison", node, make


def _counted(node: ast.BinOp | ast.AugAssign) -> Iterator[Change]:
    left = node.left if isinstance(node, ast.BinOp) else None
    if isinstance(left, ast.JoinedStr) or (isinstance(left, ast.Constant) and isinstance(left.value, str)):
        return  # texts cannot be subtracted
    other = COUNTED[type(node.op)]()
    yield "other operator", node, lambda: setattr(node, "op", other)


def _valued(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield "other truth", node, lambda: setattr(node, "value", not node.value)
    elif isinstance(node.value, int | float):
        yield "one more", node, lambda: setattr(node, "value", node.value + 1)  # type: ignore[operator]


def _called(node: ast.Call) -> Iterator[Change]:
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is None or _is_guard(keyword):
            continue

        def make(index: int = index) -> None:
            del node.keywords[index]

        yield f"drop {keyword.arg}=", node, make


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
