"""Recipes of labels from YAML: every mistake at once, and no key in them."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.chat.secrets import refuse_keys
from vidapt.chat.settings import under
from vidapt.errors import ConfigError
from vidapt.teaching.settings import Labelling
from vidapt.yaml_lines import apply_overrides, parse_yaml, validated


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
    refuse_keys(file, data, lines)
    prompts = data.get("prompts", {})
    if path is not None and isinstance(prompts, dict):
        data["prompts"] = {**parse_yaml(shipped())[0]["prompts"], **prompts}
    recipe = validated(Labelling, data, file, lines)
    base = file.parent
    return recipe.model_copy(update={"teachers": tuple(under(base, one) for one in recipe.teachers)})
