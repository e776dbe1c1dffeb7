"""Mistakes of a recipe that are told together, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vidapt.errors import ConfigError, VidaptError
from vidapt.loading._settle import WEIGHTS, FieldError

At = Callable[[tuple[str | int, ...]], str]
"""Names a place in a recipe."""


class Mistakes:
    """Collects what goes wrong.

    Args:
        at: Names a place in the recipe.
    """

    def __init__(self, at: At) -> None:
        self._at = at
        self._found: list[str] = []

    @contextmanager
    def of(self, *where: str | int) -> Iterator[None]:
        """While something is done for the part at a place: keep what it fails with."""
        try:
            yield
        except FieldError as error:
            inside = [int(key) if key.isdigit() else key for key in error.where.split(".") if key]
            self._keep((*where, *inside), error.found, error.remedy)
        except VidaptError as error:
            self._keep((*where, WEIGHTS), f"{error.where}: {error.found}", error.remedy)

    def tell(self) -> None:
        """Tell what was kept.

        Raises:
            ConfigError: If there is anything.
        """
        if self._found:
            found = "\n  ".join(self._found)
            raise ConfigError("recipe", f"{len(self._found)} mistake(s)\n  {found}")

    def _keep(self, where: tuple[str | int, ...], found: str, remedy: str) -> None:
        self._found.append("; ".join(filter(None, (f"{self._at(where)}: {found}", remedy))))
