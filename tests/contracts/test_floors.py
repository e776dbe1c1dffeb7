"""The floors of docs/architecture.md are those that `make lint` checks; the lower ones need no torch."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "peft"}

IMPORT_ALL = """
import importlib, pkgutil, sys
for room in sys.argv[1:]:
    package = importlib.import_module(room)
    names = [m.name for m in pkgutil.walk_packages(getattr(package, "__path__", []), room + ".")]
    for name in [room, *names]:
        importlib.import_module(name)
        heavy = {"torch", "transformers", "peft"} & set(sys.modules)
        assert not heavy, f"{name} imports {heavy}"
print("none")
"""


def contracts() -> list[dict[str, Any]]:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(data["tool"]["importlinter"]["contracts"])


def layers() -> list[list[str]]:
    listed: list[str] = next(one for one in contracts() if one["type"] == "layers")["layers"]
    assert not any(":" in line for line in listed), "a colon lets rooms on one line import one another"
    return [line.split(" | ") for line in listed]


def test_the_map_shows_the_floors_that_are_checked() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| F\d \| (.*?) \|", text, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == layers()


def test_rooms_below_the_parts_are_all_said_to_need_no_torch() -> None:
    lines = layers()
    parts = next(index for index, line in enumerate(lines) if "towers" in line)
    below = {f"vidapt.{room}" for line in lines[parts + 1 :] for room in line}
    strict = [
        one for one in contracts() if one["type"] == "forbidden" and not one.get("allow_indirect_imports")
    ]
    assert [set(one["source_modules"]) for one in strict] == [below]
    assert set(strict[0]["forbidden_modules"]) == HEAVY


def test_every_module_below_the_parts_is_imported_without_torch() -> None:
    rooms = next(one for one in contracts() if one["type"] == "forbidden")["source_modules"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *rooms], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "none", done.stderr


def test_opening_and_answering_import_no_peft() -> None:
    """It takes seconds, and its own dependencies print lines; only adapters need it."""
    code = "import sys, vidapt.inference.engine, vidapt.training.run; assert 'peft' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
