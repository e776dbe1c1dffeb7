"""Opens trackers, and keeps training going whatever becomes of them."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import vidapt.training.tracking
from vidapt.errors import ConfigError, nearest


class Tracker(Protocol):
    """A library's record of a stage."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""

    def close(self) -> None:
        """There will be no more."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a stage before its first step.

    Attributes:
        run: Name of the run.
        stage: Name of the stage's folder.
        folder: Of the stage's work; whatever is written locally goes there.
        recipe: The recipe as plain data.
        done: Steps that are done; what was logged of later ones is of an attempt that did not count.
    """

    run: str
    stage: str
    folder: Path
    recipe: Mapping[str, Any]
    done: int


def kinds() -> list[str]:
    """Names of the trackers that there are."""
    found = pkgutil.iter_modules(vidapt.training.tracking.__path__)
    return sorted(one.name for one in found if one.name != __name__.rpartition(".")[2])


def check_trackers(names: Collection[str]) -> None:
    """See that trackers can be opened, before any work.

    Raises:
        ConfigError: If one is unknown, or its library is not installed.
    """
    for name in names:
        if name not in kinds():
            raise ConfigError("track", f"there is no tracker {name!r}", nearest(name, kinds()))
        needs = _module(name).NEEDS
        if importlib.util.find_spec(needs) is None:
            raise ConfigError("track", f"{needs} is not installed", f"pip install {needs}")


@contextmanager
def open_trackers(
    names: Sequence[str], tracked: Tracked, tell: Callable[[str], object]
) -> Iterator[Trackers]:
    """Trackers of a stage; one that fails, now or later, is told once and left alone from then on.

    Args:
        names: See `kinds`.
        tracked: The stage.
        tell: Told of failures.
    """
    trackers = Trackers(tell)
    for name in names:
        trackers.add(name, tracked)
    try:
        yield trackers
    finally:
        trackers.close()


class Trackers:
    """Several trackers as one, none of which can stop training.

    Args:
        tell: Told of failures.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._open: dict[str, Tracker] = {}
        self._tell = tell

    def add(self, name: str, tracked: Tracked) -> None:
        """Open one more."""
        made = self._tried(name, lambda: _module(name).Part(tracked))
        if made is not None:
            self._open[name] = made

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step, to all of them."""
        for name, tracker in list(self._open.items()):
            self._tried(name, lambda tracker=tracker: tracker.log(numbers, step))  # type: ignore[misc]

    def close(self) -> None:
        """There will be no more."""
        for name, tracker in list(self._open.items()):
            self._tried(name, tracker.close)
        self._open.clear()

    def _tried(self, name: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        # A library that talks to the network may raise anything, and a run is worth more than its record.
        except Exception as error:  # noqa: BLE001
            self._open.pop(name, None)
            reason = str(error).partition("\n")[0]
            self._tell(f"{name} is left out from here on: {type(error).__name__}: {reason}")
            return None


def _module(name: str) -> Any:
    return importlib.import_module(f"vidapt.training.tracking.{name}")
