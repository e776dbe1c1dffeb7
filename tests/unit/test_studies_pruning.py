"""The study's reader of cells: with all of them it is the shipped model; what is left out tells nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidapt.connectors import track
from vidapt.loading import open_model
from vidapt.nouns import Features, Grid
from vidapt.towers import conv_vip

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
SIZES = {"size": (16, 24), "frames": 4, "width": 16, "stem": 8, "heads": 2, "proxies": 2}


@pytest.fixture(scope="module")
def reader() -> Any:
    sys.path.insert(0, str(STUDIES))
    try:
        import _pruning_parts

        yield _pruning_parts
    finally:
        sys.path.remove(str(STUDIES))


def clips(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 4, 3, 16, 24), generator=torch.Generator().manual_seed(3)).byte()


def tower_of(reader: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return reader.Tower(reader.Tower.Config(**SIZES, **options)).eval()


@pytest.mark.parametrize("options", [{}, {"keep": 1.0}], ids=str)
def test_with_every_cell_the_tower_is_the_shipped_one(reader: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = conv_vip.Part(conv_vip.Part.Config(**SIZES)).eval()
    seen, whole = tower_of(reader, **options)(clips()), plain(clips())
    assert torch.equal(seen.x, whole.x)
    assert torch.equal(seen.extra, whole.extra)


@pytest.mark.parametrize(
    "options",
    [{"keep": 0.5}, {"threshold": 0.3}, {"keep": 0.5, "by": "chance"}, {"keep": 0.5, "by": "frames"}],
)
def test_cells_that_are_read_are_the_whole_towers(reader: Any, options: dict[str, Any]) -> None:
    tower = tower_of(reader, **options)
    grid = Grid(4, 2, 3)
    read = torch.stack([reader.cells_read(clip, grid, tower.cfg) for clip in clips()])
    assert 6 <= int(read[0].sum()) < grid.cells
    assert bool(read[:, 0].all())
    seen, whole = tower(clips()), tower_of(reader)(clips())
    assert torch.equal(seen.x[read], whole.x[read])
    assert not seen.x[~read].any()
    assert not torch.allclose(seen.extra, whole.extra)


def test_nothing_goes_on_of_frames_that_are_left_out(reader: Any) -> None:
    tower = tower_of(reader, keep=0.5, by="frames")
    cells: list[Tensor] = []

    def note(_: Any, __: Any, found: Tensor) -> Tensor:
        cells.append(found.detach().requires_grad_())
        return cells[-1]

    tower.stem.register_forward_hook(note)
    seen = tower(clips())
    (seen.x.square().sum() + seen.extra.square().sum()).backward()
    read = reader.cells_read(clips()[0], Grid(4, 2, 3), tower.cfg)[:, 0, 0]
    assert read.tolist() == [True, False, True, False]
    for one in cells:
        assert one.grad is not None
        assert not one.grad[:, ~read].any()
        assert bool(one.grad[:, read].flatten(2).any(-1).all())


@settings(max_examples=20, deadline=None)
@given(read=st.lists(st.booleans(), min_size=12, max_size=12))
def test_slots_look_at_cells_that_are_read_alone(reader: Any, read: list[bool]) -> None:
    torch.manual_seed(1)
    cfg = {"slots": 3, "scene": 0, "frames": 3, "hidden": 16, "layers": 1, "heads": 2}
    slots = reader.Slots(reader.Slots.Config(**cfg), width_in=8, width_out=8)
    plain = track.Part(track.Part.Config(**cfg), width_in=8, width_out=8)
    plain.load_state_dict(slots.state_dict())
    kept = torch.tensor(read).reshape(1, 3, 2, 2, 1)
    x = (torch.randn(1, 3, 2, 2, 8) * kept).requires_grad_()
    found = slots.tracks(Features(x))
    for frame in range(3):
        some = x[:, frame : frame + 1, kept[0, frame, ..., 0]].reshape(1, 1, 1, -1, 8)
        # The weights that a connector gives to a frame that has no other cells.
        logits = torch.cat([plain.score(some).flatten(1, 3), torch.zeros(1, 1, 3)], dim=1)
        presence = logits.softmax(1)[:, :-1].sum(1)
        torch.testing.assert_close(found.presence[:, frame], presence)
    slots(Features(x)).x.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_the_readers_weights_are_the_shipped_models(reader: Any, tmp_path: Path) -> None:
    import _pruning_cells

    folder = _pruning_cells.start(tmp_path, "keep_0.25")
    model, shipped = open_model(folder)[0], open_model(_pruning_cells.START)[0]
    assert isinstance(model.tower, reader.Tower)
    assert model.state_dict().keys() == shipped.state_dict().keys()
    names = {_pruning_cells.learning(tmp_path, folder, arm, 1).name for arm in _pruning_cells.LEARNING}
    assert len(names) == len(_pruning_cells.LEARNING)
    assert set(_pruning_cells.LEARNING) <= set(_pruning_cells.ARMS)
