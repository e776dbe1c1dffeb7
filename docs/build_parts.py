"""Write docs/parts.md: every part with its fields, read from the code."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from vidapt import parts

HEAD = "# Parts\n\nWritten by `make docs` from the code; do not edit.\n"


def page() -> str:
    """The whole page."""
    sections = [HEAD]
    for family in parts.FAMILIES:
        sections.append(f"## {family}\n")
        sections += [_part(family, kind) for kind in parts.kinds(family)]
    return "\n".join(sections)


def _part(family: parts.Family, kind: str) -> str:
    module = importlib.import_module(f"vidapt.{family}.{kind}")
    summary = (inspect.getdoc(module) or "").strip()
    rows = [
        f"| `{name}` | `{_type(field.annotation)}` | {_default(field)} |"
        for name, field in module.Part.Config.model_fields.items()
    ]
    table = ["| field | type | default |", "| --- | --- | --- |", *rows] if rows else ["No fields."]
    names = [name for name in module.Part.Config.model_fields if name in module.Part.Config.choices]
    chosen = ["", f"Beside `weights` ([compose.md](compose.md)): {', '.join(f'`{n}`' for n in names)}."]
    return "\n".join([f"### `{kind}`\n", summary, "", *table, *(chosen if names else []), ""])


def _type(annotation: object) -> str:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return name.replace("typing.", "").replace("|", "\\|")


def _default(field: object) -> str:
    required = getattr(field, "is_required", lambda: False)()
    return "required" if required else f"`{getattr(field, 'default', None)!r}`"


if __name__ == "__main__":
    target = Path(__file__).parent / "parts.md"
    target.write_text(page() + "\n", encoding="utf-8")
    print(target)
