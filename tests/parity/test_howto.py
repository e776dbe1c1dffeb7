"""The code on the pages of docs/howto runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dual_tools as vip
import numpy as np
import parity_tools as tools
import pytest
import torch

from vidapt.video import write_mp4

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "use-the-parts.md"


def snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_parts_can_be_used_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.save(tools.llava(), tmp_path / "llava-1.5-7b-hf")
    torch.save(vip.authors(), tmp_path / "clip_vip_base_16.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    write_mp4(tmp_path / "match.mp4", pixels, 6)
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    found = snippets()
    assert len(found) >= 10
    for number, code in enumerate(found):
        exec(compile(code, f"{PAGE.name}, snippet {number + 1}", "exec"), known)
    assert known["logits"].shape == (len(known["before"]) + 8 * 16 + len(known["after"]), 64)
    assert known["likely"].item() < 0 < known["loss"].item()
    assert known["tokens"].shape == (8 * 16, 32)
    assert known["score"].shape == (1, 1)
    assert known["told"].value.item() > 0
    assert known["videos"].grad.abs().max() > 0
    assert "multi_modal_projector.linear_1.weight" in known["hub"]


def test_what_the_page_imports_is_public() -> None:
    lines = [line for line in "\n".join(snippets()).splitlines() if line.startswith(("from ", "import "))]
    names = [name for line in lines for name in re.findall(r"\w+", line)]
    assert {"translate", "Pairs", "choose_grid"} <= set(names)
    assert not [name for name in names if name.startswith("_")]
