"""A folder is a registry: `kind: pool_mlp` among the connectors is `vidapt/connectors/pool_mlp.py`.

Such a module holds `Part`, whose nested `Config` is a frozen pydantic model, and `tiny()`, which builds
the smallest sensible instance for contract tests and docs. Importing this module imports no part, and so
no torch.

`package.module:Class` reaches a part outside the package. A recipe is its user's own word, so the module is
imported. What a model's folder says may be somebody else's: there such a part is taken only if its module
has been imported before, so that opening a model never chooses what code runs.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from vidapt.errors import CheckpointError, ConfigError, nearest
from vidapt.strict import Strict

Family = Literal[
    "resolutions",
    "towers",
    "connectors",
    "positions",
    "objectives",
    "formats",
    "cleaning.checks",
    "metrics.protocols",
]
FAMILIES: tuple[Family, ...] = (
    "resolutions",
    "towers",
    "connectors",
    "positions",
    "objectives",
    "formats",
    "cleaning.checks",
    "metrics.protocols",
)

_COUNTS = frozenset(
    {
        *("blocks", "depth", "depths", "layers", "n_layer", "n_layers", "num_hidden_layers", "num_layers"),
        *("decoder_layers", "encoder_layers", "n_blocks", "num_blocks", "num_decoder_layers"),
        *("num_encoder_layers", "num_layers_per_stack", "num_mem_blocks", "num_nextn_predict_layers"),
        *("moe_num_experts", "n_routed_experts", "num_experts", "num_local_experts"),
    }
)
"""Fields that say how many modules are made, of parts and of transformers configurations."""

_MOST = 1000
"""Of these; published models have up to 200 layers, and 512 experts in one."""


class PartConfig(Strict):
    """Base of every part's `Config`: immutable, and a key it does not know is an error.

    Attributes:
        choices: Fields that may be chosen anew where a part begins with another one's weights: they say how
            these are read. All others say what they are.
    """

    choices: ClassVar[frozenset[str]] = frozenset()


def kinds(family: Family) -> list[str]:
    """Names of the parts that lie in a family's folder (files whose name starts with `_` are helpers)."""
    package = importlib.import_module(f"vidapt.{family}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(family: Family, kind: str) -> Any:
    """Return the class behind `kind`.

    Raises:
        ConfigError: If there is no such part, where the nearest name is offered, or it is no part.
    """
    if ":" in kind:
        return _outside(family, kind)
    if kind not in kinds(family):
        raise ConfigError(f"{family}", f"no part is called {kind!r}", nearest(kind, kinds(family)))
    return importlib.import_module(f"vidapt.{family}.{kind}").Part


def _outside(family: Family, kind: str) -> Any:
    module, _, name = kind.partition(":")
    found = getattr(_imported(module, family), name, None)
    if not _is_part(found):
        raise ConfigError(
            family,
            f"{kind!r} is no part",
            "write it as package.module:Class; the class needs a `Config` made from vidapt.parts.PartConfig",
        )
    return found


def _is_part(found: Any) -> bool:
    config = getattr(found, "Config", None)
    return isinstance(found, type) and isinstance(config, type) and issubclass(config, PartConfig)


def _imported(module: str, where: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, ValueError, TypeError) as error:  # the last two are of an empty or a relative name
        raise ConfigError(
            where,
            f"cannot import {module!r}: {error}",
            "write a part as package.module:Class, and install the module or add its folder to PYTHONPATH",
        ) from error


def outside(described: Any) -> Iterator[str]:
    """Every `module:Class` that a description names, however deep.

    Args:
        described: A recipe or a blueprint as plain values.
    """
    if isinstance(described, Mapping):
        for key, value in described.items():
            if key in ("kind", "format") and isinstance(value, str) and ":" in value:
                yield value
            else:
                yield from outside(value)
    elif isinstance(described, list | tuple):
        for value in described:
            yield from outside(value)


def import_modules(names: Iterable[str]) -> None:
    """Import modules by the user's own word, so that models may name their parts.

    Args:
        names: Modules, or parts as `module:Class`.

    Raises:
        ConfigError: If one cannot be imported.
    """
    for name in names:
        _imported(name.partition(":")[0], name)


def refuse_unimported(described: Any, where: Path) -> None:
    """See that what a model's folder says names no outside part but of modules imported before.

    Args:
        described: A blueprint or a recipe from there, as plain values.
        where: Its file.

    Raises:
        CheckpointError: If it does.
    """
    for kind in outside(described):
        module, _, name = kind.partition(":")
        if module not in sys.modules:
            raise CheckpointError(
                where,
                f"names a part that is not vidapt's, {kind!r}, whose code would run",
                f"if you trust it, import {module} first; for a command: vidapt --trust {module} COMMAND ...",
            )
        # Not by `getattr`, since a module may import others when it is asked for a name.
        if not _is_part(vars(sys.modules[module]).get(name)):
            raise CheckpointError(
                where, f"names {kind!r}, which is no part", "write package.module:Class, or leave this folder"
            )


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
    refuse_endless(fields, family)
    return find(family, kind).Config.model_validate(fields)


def refuse_endless(spec: Mapping[str, Any], where: str) -> None:
    """See that what is described is built in this life: each of a million layers takes its time and memory.

    Args:
        spec: Fields of a part, or a transformers configuration; others may stand in it.
        where: Its place, for errors.

    Raises:
        ConfigError: If it has more layers than any model has.
    """
    for key, value in spec.items():
        if isinstance(value, Mapping):
            refuse_endless(value, f"{where}.{key}")
        counts = value if isinstance(value, list | tuple) else [value]
        if key in _COUNTS and any(isinstance(count, int) and count > _MOST for count in counts):
            raise ConfigError(f"{where}.{key}", f"is {value!r}", f"no model has more than {_MOST}")


@contextmanager
def possible(where: str) -> Iterator[None]:
    """While a module is made whose sizes others wrote, which may be none.

    Args:
        where: Place of its description, for errors.

    Raises:
        ConfigError: In place of what transformers and torch raise over sizes that they cannot do with.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (
        StrictDataclassError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            where, f"cannot be made: {type(error).__name__}: {reason}", "check its sizes, or fetch it again"
        ) from error


def build(family: Family, spec: Mapping[str, Any], **given: Any) -> Any:
    """Build the part that `spec` describes; `given` are the sizes that other parts own."""
    return find(family, str(spec.get("kind", "")))(configure(family, spec), **given)
