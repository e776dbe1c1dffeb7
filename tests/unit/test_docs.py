"""The pages that are written from the code are as the code is, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_parts_page_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("build_parts", ROOT / "docs" / "build_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "parts.md").read_text(encoding="utf-8")
    assert written == module.page() + "\n", "run `make docs`"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/compose.md",
        "docs/diversity.md",
        "docs/review.md",
        "docs/look-over.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_architecture_page_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "src" / "vidapt").glob("*/__init__.py")}
    assert not {room for room in rooms if f"`{room}`" not in text}
