"""Which files of a package's code a part depends on, as its imports say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidapt.training.sources import sources_of

PACK = "pack_of_sources"
FILES = {
    "__init__.py": "",
    "deep/__init__.py": "from .beside import B\n",
    "deep/part.py": "from ..above import A\nfrom .. import other\nfrom . import sister\nimport os\n",
    "deep/beside.py": "B = 1\n",
    "deep/sister.py": "import pack_of_sources.plain as plain\n",
    "above.py": "A = 1\nfrom .deep.part import Part\n",
    "other.py": "",
    "plain.py": "from json import loads\n",
    "unused.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, content in FILES.items():
        file = tmp_path / PACK / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / PACK
    for name in [name for name in sys.modules if name.partition(".")[0] == PACK]:
        del sys.modules[name]


def names(*kinds: str) -> list[str]:
    return [line.partition(" ")[0].removeprefix(PACK) for line in sources_of(kinds)]


def test_imports_are_followed_up_and_down_and_round_in_circles(package: Path) -> None:
    wanted = ["", ".above", ".deep", ".deep.beside", ".deep.part", ".deep.sister", ".other", ".plain"]
    assert names(f"{PACK}.deep.part:Part") == wanted
    assert names(f"{PACK}.unused:Part") == [".unused"]
    assert names(f"{PACK}.unused:Part", f"{PACK}.plain:Part", f"{PACK}.unused:Other") == [".plain", ".unused"]


def test_another_content_of_a_module_that_is_imported_is_another_digest(package: Path) -> None:
    before = sources_of([f"{PACK}.deep.sister:Part"])
    assert sources_of([f"{PACK}.deep.sister:Part"]) == before
    (package / "unused.py").write_text("x = 1\n", encoding="utf-8")
    assert sources_of([f"{PACK}.deep.sister:Part"]) == before
    (package / "plain.py").write_text("from json import dumps\n", encoding="utf-8")
    after = sources_of([f"{PACK}.deep.sister:Part"])
    assert [line for line in after if line not in before] == [
        line for line in after if line.startswith(f"{PACK}.plain ")
    ]
    assert len(after) == len(before)
