"""Recipes of labels from YAML: every mistake at once, and no key in them."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidapt.errors import ConfigError
from vidapt.teaching.settings import Labelling, secret_at
from vidapt.yaml_lines import Lines, apply_overrides, describe, in_order, parse_yaml


def shipped() -> Path:
    """The recipe that comes with the package."""
    return Path(str(importlib.resources.files("vidapt.teaching") / "label.yaml"))


def read_labelling(
    path: Path | None = None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> Labelling:
    """Read a recipe.

    Args:
        path: A YAML file; None is the shipped one, from which prompts come that a file leaves out.
        overrides: `a.b.0.c=value` entries, whose values are YAML.
        given: Values by their top keys, which come in the place of the file's, before the entries.

    Raises:
        ConfigError: Naming every mistake with its line; or where a key may stand, which is not shown.
    """
    file = path or shipped()
    data, lines = parse_yaml(file)
    if not isinstance(data, dict):
        raise ConfigError(file, "is no recipe", "write `mode: ...` and so on; copy the shipped one")
    data.update(given or {})
    apply_overrides(data, overrides, lines)
    _refuse_keys(file, data, lines)
    prompts = data.get("prompts", {})
    if path is not None and isinstance(prompts, dict):
        data["prompts"] = {**parse_yaml(shipped())[0]["prompts"], **prompts}
    try:
        recipe = Labelling.model_validate(data)
    except ValidationError as error:
        problems = in_order(describe(error, Labelling, lines))
        raise ConfigError(file, f"{len(problems)} mistake(s)\n  " + "\n  ".join(problems)) from None
    base = file.parent
    return recipe.model_copy(update={"teachers": tuple(_under(base, one) for one in recipe.teachers)})


def _under(folder: Path, teacher: Any) -> Any:
    """A local model in the recipe's folder by its path; another one as it is."""
    if teacher.kind == "local" and os.path.exists(folder / teacher.model):  # noqa: PTH110 - it raises nothing
        return teacher.model_copy(update={"model": os.path.realpath(folder / teacher.model)})
    return teacher


def _refuse_keys(path: Path, data: Any, lines: Lines) -> None:
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


def _from_environment(data: dict[str, Any]) -> tuple[str | int, ...] | None:
    """The place of a key that stands in the variable which the recipe names, whatever it looks like."""
    teachers = data.get("teachers")
    named = (
        [one.get("key_env") for one in teachers if isinstance(one, dict)]
        if isinstance(teachers, list)
        else []
    )
    keys = {os.environ[name] for name in named if isinstance(name, str) and os.environ.get(name)}
    return _place_of(data, keys) if keys else None


def _place_of(value: Any, keys: set[str], where: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    if isinstance(value, str):
        return where if any(key in value for key in keys if len(key) > 3) else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, one in inner if (found := _place_of(one, keys, (*where, key)))), None)
