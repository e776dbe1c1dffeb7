"""Benchmarks and studies name what there is: none of them is run here, and all of them can still begin."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.py"))


def imported(script: Path) -> Iterator[tuple[str, str]]:
    """Modules of vidapt and the names taken from them."""
    for node in ast.walk(ast.parse((FOLDER / script).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vidapt":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_what_a_script_imports_is_there(script: Path) -> None:
    for module, name in imported(script):
        found = importlib.import_module(module)
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
