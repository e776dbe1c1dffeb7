"""A folder is a registry: `kind: pool_mlp` among the connectors is `vidapt/connectors/pool_mlp.py`.

Such a module holds `Part`, whose nested `Config` is a frozen pydantic model, and `tiny()`, which builds
the smallest sensible instance for contract tests and docs. `package.module:Class` reaches a part outside
the package. Importing this module imports no part, and so no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vidapt.errors import ConfigError, nearest

Family = Literal["resolutions", "towers", "connectors", "positions", "objectives", "formats"]
FAMILIES: tuple[Family, ...] = ("resolutions", "towers", "connectors", "positions", "objectives", "formats")


class PartConfig(BaseModel):
    """Base of every part's `Config`: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def kinds(family: Family) -> list[str]:
    """Names of the parts that lie in a family's folder (files whose name starts with `_` are helpers)."""
    package = importlib.import_module(f"vidapt.{family}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(family: Family, kind: str) -> Any:
    """Return the class behind `kind`.

    Raises:
        ConfigError: If there is no such part; the nearest name is offered.
    """
    if ":" in kind:
        return _outside(family, kind)
    if kind not in kinds(family):
        raise ConfigError(f"{family}", f"no part is called {kind!r}", nearest(kind, kinds(family)))
    return importlib.import_module(f"vidapt.{family}.{kind}").Part


def _outside(family: Family, kind: str) -> Any:
    module, _, name = kind.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            family, f"cannot import the part {kind!r}: {error}", "write it as package.module:Class"
        ) from error


def configure(family: Family, spec: Mapping[str, Any]) -> Any:
    """Validate `spec` (its `kind` and the part's own fields) and return the part's `Config`.

    Raises:
        ConfigError: If `kind` is missing or unknown.
        pydantic.ValidationError: If a field is wrong.
    """
    fields = dict(spec)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(family, "a part needs a `kind`", f"known: {', '.join(kinds(family))}")
    return find(family, kind).Config.model_validate(fields)


def build(family: Family, spec: Mapping[str, Any], **given: Any) -> Any:
    """Build the part that `spec` describes; `given` are the sizes that other parts own."""
    return find(family, str(spec.get("kind", "")))(configure(family, spec), **given)
