"""Which world a data set is of: its `dataset.json` says so, and the package of that name knows the rest.

A world is a package in this folder. What it offers to whoever does not know which world it is, is `World`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vidapt import worlds
from vidapt.errors import ConfigError, FormatError, nearest
from vidapt.worlds.dataset import ABOUT, EVENTS
from vidapt.worlds.verdict import Verdict


class World(Protocol):
    """What the package of every world offers.

    Its records have an `index`, the clip's number; its venues a `style`; its claims are said by `say(style)`.
    """

    STYLES: Mapping[str, Any]

    def find_venue(self, name: str) -> Any:
        """Return the venue called `name`."""

    def simulate(
        self,
        out: Path,
        *,
        clips: int,
        seed: int = 0,
        statements: int = 1,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> None:
        """Write a data set; a world may have options of its own, such as `venue`."""

    def load_records(self, path: Path) -> list[Any]:
        """Read a data set's `events.jsonl`."""

    def judge(self, text: str, record: Any) -> Verdict[Any]:
        """Check every claim of a text against what happened in a clip."""

    def story(self, record: Any) -> list[Any]:
        """The claims of a full description, in order of time."""

    def changeable(self, record: Any) -> list[Any]:
        """True claims of which one word can be changed so that a person sees that they are false."""

    def falsify(self, claim: Any, record: Any, rng: np.random.Generator) -> Any | None:
        """Change one word of a claim so that it becomes false; None where no change of one word does."""

    def difference(self, true: Any, false: Any) -> str:
        """The fact in which a claim and its false copy differ."""


def world_names() -> list[str]:
    """All worlds, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(worlds.__path__) if m.ispkg)


def find_world(name: str) -> World:
    """Return the world called `name`.

    Raises:
        ConfigError: If there is none; the nearest name is offered.
    """
    if name not in world_names():
        raise ConfigError("world", f"no world is called {name!r}", nearest(name, world_names()))
    return cast(World, importlib.import_module(f"{worlds.__name__}.{name}"))


def world_of(folder: Path) -> World | None:
    """Return the world a folder's clips are of.

    Args:
        folder: Where the labels lie.

    Returns:
        None if the folder holds no simulated world, or one that this version does not know.

    Raises:
        FormatError: If what describes the data set cannot be read.
    """
    about = folder / ABOUT
    if not about.is_file() or not (folder / EVENTS).is_file():
        return None
    try:
        described = json.loads(about.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(about, f"is not JSON: {error}") from error
    name = described.get("world") if isinstance(described, dict) else None
    return find_world(name) if name in world_names() else None
