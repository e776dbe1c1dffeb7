"""The code of parts that are not ours, which may change between two runs as ours does not."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def sources_of(kinds: Iterable[str]) -> list[str]:
    """Digests of the source of parts' modules, and of what these import of their own package.

    Args:
        kinds: Parts as `module:Class`; their modules are imported.

    Returns:
        One per file, in an order that depends on the code alone; empty if there are no such parts. A module
        that has no source, such as a compiled one, is known by the bytes of its file.
    """
    names = sorted({kind.partition(":")[0] for kind in kinds})
    seen: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in seen or file is None:
            continue
        content = file.read_bytes()
        seen[name] = hashlib.sha256(content).hexdigest()
        if file.suffix == ".py":
            own = name if file.name == "__init__.py" else name.rpartition(".")[0]
            top = name.partition(".")[0]
            waiting += [one for one in _imported(content, own) if one.partition(".")[0] == top]
    return [f"{name} {digest}" for name, digest in sorted(seen.items())]


def _file(module: str) -> Path | None:
    """A module's file; None if it is none, as a name imported from a module is."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return Path(loaded)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin is not None else None


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Names that a module's code imports, and that may be modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Of a relative import the first dot is the package itself, and each further one the one above.
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
