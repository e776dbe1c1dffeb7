"""Finds a world's venue by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from vidapt.errors import ConfigError, nearest


class Named(Protocol):
    """Has a name."""

    @property
    def name(self) -> str:
        """What it is called in recipes and on the command line."""


V = TypeVar("V", bound=Named)


def venue_called(name: str, venues: Sequence[V]) -> V:
    """Return the venue called `name`.

    Raises:
        ConfigError: If there is none; the nearest name is offered.
    """
    for venue in venues:
        if venue.name == name:
            return venue
    raise ConfigError("venue", f"no venue is called {name!r}", nearest(name, [one.name for one in venues]))
