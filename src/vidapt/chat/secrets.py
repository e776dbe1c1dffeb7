"""No key stands in a file that is copied and shared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidapt.chat.settings import secret_at
from vidapt.errors import ConfigError
from vidapt.yaml_lines import Lines


def refuse_keys(path: Path, data: Any, lines: Lines) -> None:
    """See that a file holds none.

    Raises:
        ConfigError: Where one may stand; it is not shown.
    """
    place = secret_at(data)
    if place is None:
        place = _from_environment(data)
    if place is not None:
        line = lines.label(place)
        where = f"{path}: {line if line.startswith('line') else 'an override'}"
        raise ConfigError(
            where,
            f"{'.'.join(map(str, place))} looks like a key, and recipes are copied and shared",
            "write it into a variable of the environment, and name that in `key_env`",
        )


def _from_environment(data: Any) -> tuple[str | int, ...] | None:
    """The place of a key that stands in a variable which the file names, whatever it looks like."""
    keys = {os.environ[name] for name in _variables(data) if os.environ.get(name)}
    return _place_of(data, keys) if keys else None


def _variables(data: Any) -> Iterator[str]:
    """Names that stand under `key_env` anywhere."""
    if isinstance(data, dict) and isinstance(named := data.get("key_env"), str):
        yield named
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    for one in inner:
        yield from _variables(one)


def _place_of(value: Any, keys: set[str], where: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    if isinstance(value, str):
        return where if any(key in value for key in keys if len(key) > 3) else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, one in inner if (found := _place_of(one, keys, (*where, key)))), None)
