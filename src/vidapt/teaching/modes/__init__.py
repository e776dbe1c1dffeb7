"""What can be made of a teacher's answers; a folder is the list: mode `facts` is `modes/facts.py`.

Such a module has `async def label(voices, clip) -> Labelled`. Files whose names start with `_` are helpers.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vidapt.teaching.footage import Footage
    from vidapt.teaching.rows import Labelled
    from vidapt.teaching.voices import Voices


def modes() -> list[str]:
    """Names of all modes."""
    return sorted(one.name for one in pkgutil.iter_modules(__path__) if not one.name.startswith("_"))


def find(mode: str) -> Callable[[Voices, Footage], Awaitable[Labelled]]:
    """What labels a clip in a mode."""
    label: Callable[[Voices, Footage], Awaitable[Labelled]]
    label = importlib.import_module(f"vidapt.teaching.modes.{mode}").label
    return label
