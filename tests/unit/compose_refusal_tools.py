"""Making plans of models, and what is said of one that cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError
from vidapt.loading import compose
from vidapt.loading.compose import Sources
from vidapt.recipe import Blueprint

Made = Callable[..., list[str]]


def plan(towers: Any, language: Any, connector: Any = None, **changes: Any) -> compose.Plan:
    given = {"towers": towers, "connector": connector or {"kind": "pool_mlp"}, "language": language}
    blueprint = Blueprint.model_validate(given | changes)
    return compose.plan(blueprint, Sources((), 0), lambda where: ".".join(map(str, where)))


def refused(*parts: Any, **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        plan(*parts, **changes)
    return str(error.value)


def copied(source: str, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder / Path(source).name))


def edit(file: Path, **changes: Any) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, **changes}))
