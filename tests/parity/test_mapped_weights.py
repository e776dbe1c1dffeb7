"""Published weights are mapped from their files, which training in place never writes to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dual_tools as vip
import parity_tools as tools
import pytest
import torch
from torch import Tensor, nn

from vidapt.hub import open_checkpoint, open_dual_encoder

CLIP = tools.film(1, 28, 28)


def mapped(file: Path, weights: Iterable[Tensor]) -> int:
    """How many of the weights lie in what this process has mapped of a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    places = [line.split()[0].split("-") for line in lines if line.endswith(str(file))]
    spans = [(int(a, 16), int(b, 16)) for a, b in places]
    return sum(any(a <= weight.data_ptr() < b for a, b in spans) for weight in weights)


def step(model: nn.Module, loss: Tensor) -> None:
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()


def test_a_checkpoints_shards_stay_as_they_are(tmp_path: Path) -> None:
    tools.save(tools.llava(), tmp_path)
    file = tmp_path / "model.safetensors"
    written = file.read_bytes()
    model, _, _ = open_checkpoint(tmp_path)
    assert mapped(file, model.parameters()) > 50, "or the test shows nothing"
    ids = [*tools.BEFORE, -1, *tools.AFTER]
    before = model.logits(ids, [CLIP])
    step(model, before.square().mean())
    assert not torch.equal(model.logits(ids, [CLIP]), before)
    assert file.read_bytes() == written


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted"])
def test_a_pickled_file_stays_as_it_is(tmp_path: Path, *, deleted: bool) -> None:
    file = tmp_path / "clipvip.pt"
    torch.save(vip.authors(), file)
    written = file.read_bytes()
    model, _, _ = open_dual_encoder(file)
    assert mapped(file, model.parameters()) > 50, "or the test shows nothing"
    if deleted:
        file.unlink()
    views, ids = torch.randint(0, 255, (2, 3, 3, 8, 8), dtype=torch.uint8), vip.captions()
    before = model(views, ids)
    step(model, before.square().mean())
    assert not torch.equal(model(views, ids), before)
    assert deleted or file.read_bytes() == written
