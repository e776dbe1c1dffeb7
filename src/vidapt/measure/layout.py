"""Templates filled in: one HTML file with everything in it, which needs no network and runs no script."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from vidapt.files import write_text
from vidapt.version import VERSION


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill in a template that extends `page.html.j2`.

    Args:
        path: The file; replaced if it exists.
        template: Its name, among this folder's.
        values: What the template and `page.html.j2` name, but for version and date.

    Raises:
        VidaptError: If the file cannot be written.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    html = _environment().get_template(template).render(version=VERSION, date=date, **values)
    # Labels and models may write half characters, which no file can hold.
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))


def _environment() -> Environment:
    """Everything is escaped: labels and answers are not trusted."""
    folder = files("vidapt.measure")
    return Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
