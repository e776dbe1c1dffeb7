"""Recipes that come with vidapt, each with the source it follows."""

from __future__ import annotations

import importlib.resources
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vidapt.errors import ConfigError, nearest

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Shipped:
    """A recipe that comes with vidapt.

    Attributes:
        name: Of its file, without the ending.
        title: What it does, in a sentence.
        start: What it begins with; empty where it makes a model.
        stages: Names of its stages.
        papers: Numbers of the papers it follows, on arXiv.
        path: Its file.
    """

    name: str
    title: str
    start: str
    stages: tuple[str, ...]
    papers: tuple[str, ...]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def recipes() -> list[Shipped]:
    """All of them, by name.

    Raises:
        ConfigError: If the installation has none.
    """
    return [_described(path) for path in sorted(_folder().glob("*.yaml"))]


def recipe_path(name: str) -> Path:
    """The file of a recipe that comes with vidapt.

    Args:
        name: Of the file, with or without its ending.

    Raises:
        ConfigError: If there is none of this name.
    """
    known = {path.stem: path for path in _folder().glob("*.yaml")}
    stem = name.removesuffix(".yaml")
    if stem not in known:
        raise ConfigError(name, "no recipe of this name comes with vidapt", nearest(stem, known))
    return known[stem]


def copy_recipe(name: str, to: Path) -> Path:
    """Copy a recipe to change it.

    Args:
        name: As `recipe_path` has it.
        to: A new file, or a folder to put it in.

    Returns:
        The copy.

    Raises:
        ConfigError: If there is no such recipe, or the file exists.
    """
    source = recipe_path(name)
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise ConfigError(target, "exists", "name a new file")
    if not target.parent.is_dir():
        raise ConfigError(target.parent, "there is no such folder", "make it first")
    shutil.copyfile(source, target)
    return target


def _folder() -> Path:
    """In the installed package, or a checkout's `recipes`."""
    package = Path(str(importlib.resources.files("vidapt")))
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if folder.is_dir():
            return folder
    raise ConfigError("recipes", "are not part of this installation", "install vidapt again")


def _described(path: Path) -> Shipped:
    text = path.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    return Shipped(
        name=path.stem,
        title=_first_sentence(list(_comment(text))),
        start=str(data.get("start") or ""),
        stages=tuple(stage["name"] for stage in data["stages"]),
        papers=tuple(dict.fromkeys(_ARXIV.findall(text))),
        path=path,
    )


def _comment(text: str) -> Iterator[str]:
    """The first paragraph of the comment that a file begins with."""
    for line in text.splitlines():
        if not line.startswith("# "):
            return
        yield line.removeprefix("# ").strip()


def _first_sentence(lines: list[str]) -> str:
    whole = " ".join(lines)
    found = re.match(r".*?[.:](?=\s|$)", whole)
    return (found[0] if found else whole).rstrip(".:")
