"""Which tests run which function, and how long each takes: what a coverage run with contexts tells."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Covered:
    """What is known of the tests.

    Attributes:
        tests: The tests that run a function, by its file and dotted name.
        seconds: How long each test takes.
    """

    tests: dict[str, list[str]]
    seconds: dict[str, float]

    def of(self, path: Path, function: str, budget: float) -> list[str]:
        """Tests to ask about a change, the quickest first, until `budget` seconds are full.

        A function that no test is known to run has those of what holds it, and of the module last.
        """
        names = function.split(".") if function else []
        for count in range(len(names), -1, -1):
            found = self.tests.get(f"{path.as_posix()}::{'.'.join(names[:count])}")
            if found:
                break
        else:
            return []
        chosen: list[str] = []
        spent = 0.0
        for test in sorted(found, key=lambda test: (self.seconds.get(test, 1.0), test)):
            spent += self.seconds.get(test, 1.0)
            if chosen and spent > budget:
                break
            chosen.append(test)
        return chosen

    def among(self, names: Collection[str]) -> Covered:
        """The same without tests that there are no more."""
        tests = {key: [test for test in found if test in names] for key, found in self.tests.items()}
        return Covered(tests, {name: spent for name, spent in self.seconds.items() if name in names})


def read_covered(data: Path, junit: Path, root: Path, room: str) -> Covered:
    """From a `.coverage` file with test contexts and the run's JUnit file."""
    from coverage import CoverageData

    found: dict[str, set[str]] = defaultdict(set)
    coverage = CoverageData(basename=str(data))
    coverage.read()
    for measured in coverage.measured_files():
        parts = Path(measured).parts
        path = Path(*parts[len(parts) - parts[::-1].index("src") - 1 :])
        if room not in path.as_posix() or not (root / path).exists():
            continue
        spans = _functions(root / path)
        for line, contexts in coverage.contexts_by_lineno(measured).items():
            tests = {context.rpartition("|")[0] for context in contexts if "::" in context}
            for name, first, last in spans:
                if first <= line <= last:
                    found[f"{path.as_posix()}::{name}"] |= tests
    return Covered({key: sorted(tests) for key, tests in found.items()}, _seconds(junit))


def save_covered(covered: Covered, path: Path) -> None:
    """As JSON, the tests by their number."""
    names = sorted({test for tests in covered.tests.values() for test in tests})
    number = {name: index for index, name in enumerate(names)}
    rows = {key: [number[test] for test in tests] for key, tests in covered.tests.items()}
    seconds = [round(covered.seconds.get(name, 1.0), 3) for name in names]
    path.write_text(json.dumps({"names": names, "seconds": seconds, "tests": rows}), encoding="utf-8")


def load_covered(path: Path) -> Covered:
    """What `save_covered` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    names = data["names"]
    tests = {key: [names[index] for index in rows] for key, rows in data["tests"].items()}
    return Covered(tests, dict(zip(names, data["seconds"], strict=True)))


def _functions(path: Path) -> list[tuple[str, int, int]]:
    """Bodies of functions and classes by their dotted names, with first and last line; the module is ''."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = [("", 1, 10**9)]

    def look(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                inner = f"{name}.{child.name}" if name else child.name
                # The line of `def` itself runs when the module is imported.
                spans.append((inner, child.body[0].lineno, child.end_lineno or child.lineno))
                look(child, inner)
            else:
                look(child, name)

    look(tree, "")
    return spans


def _seconds(junit: Path) -> dict[str, float]:
    found = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        found[f"{file}::{case.get('name')}"] = float(case.get("time", "1"))
    return found
