"""`siglip_navit` with windows that merge on the way sees what transformers' MiniCPM-V 4.6 does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MiniCPMV4_6VisionConfig
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import MiniCPMV4_6VisionModel

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.resolutions import slices
from vidapt.towers._pixels import normalise
from vidapt.towers.siglip_navit import Part, buckets

PATCH = 4
ARCH = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 27 * PATCH,
    "patch_size": PATCH,
}


def pair(merges: bool = True, behind: int = 1) -> tuple[Part, Any]:
    torch.manual_seed(0)
    theirs = MiniCPMV4_6VisionModel(MiniCPMV4_6VisionConfig(**ARCH, insert_layer_id=behind)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(0.3).add_(torch.randn_like(parameter) * 0.1)
    config = Part.Config(
        arch={**ARCH, "model_type": "siglip_vision_model"},
        compat="divided",
        merge_behind=behind,
        merges=merges,
        frames_at_once=2,
    )
    ours = Part(config).eval()
    ours.net.load_state_dict(theirs.state_dict())
    return ours, theirs


def packed(frames: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 3, H, W] as one row of patches [1, 3, patch, patches * patch], and the rows and columns of each."""
    rows = [MiniCPMV4_6ImageProcessorPil().reshape_by_patch(frame.numpy(), PATCH) for frame in frames]
    sizes = torch.tensor([[frames.shape[-2] // PATCH, frames.shape[-1] // PATCH]] * len(frames))
    return torch.cat([torch.from_numpy(row) for row in rows], dim=-1)[None], sizes


@torch.no_grad()
def both(ours: Part, theirs: Any, size: tuple[int, int], merges: bool = True) -> tuple[Tensor, Tensor]:
    views = torch.randint(0, 256, (2, 2, 3, *size), dtype=torch.uint8)
    pixels, sizes = packed(normalise(views.flatten(0, 1), ours.mean, ours.std, torch.float32))
    expected = theirs(pixels, target_sizes=sizes, use_vit_merger=merges).last_hidden_state
    seen = ours(views)
    assert seen.grid == ours.grid(2, size)
    return seen.x, expected.reshape(seen.x.shape)


@pytest.mark.parametrize("size", [(16, 24), (8, 8), (24, 40), (27 * 8, 8)])
@pytest.mark.parametrize("merges", [True, False])
def test_features_are_the_originals(size: tuple[int, int], merges: bool) -> None:
    ours, theirs = pair(merges)
    found, expected = both(ours, theirs, size, merges)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_it_matters_where_windows_merge_and_how_they_lie() -> None:
    ours, theirs = pair(behind=2)
    ours.cfg = ours.cfg.model_copy(update={"merge_behind": 1})
    found, expected = both(ours, theirs, (16, 24))
    assert (found - expected).abs().max() > 1e-2
    ours, theirs = pair()
    right = ours.net.vit_merger.forward
    ours.net.vit_merger.forward = lambda cells, height, width: right(cells, width, height)
    found, expected = both(ours, theirs, (16, 24))
    assert (found - expected).abs().max() > 1e-2


def test_positions_of_a_table_where_fractions_fall_short() -> None:
    assert buckets(27, 27, "divided").tolist() != list(range(27))
    assert buckets(27, 27, "exact").tolist() == list(range(27))


def test_what_does_not_divide_is_refused() -> None:
    ours, _ = pair()
    with pytest.raises(ValueError, match="multiples of 8 pixels"):
        ours.grid(1, (12, 16))
    with pytest.raises(ConfigError, match="a tower of 4 layers"):
        Part(Part.Config(arch={**ARCH, "model_type": "siglip_vision_model"}, merge_behind=4))
    assert pair(merges=False)[0].grid(1, (12, 16)) == Grid(1, 3, 4)
    assert not any(p.requires_grad for p in pair(merges=False)[0].net.vit_merger.parameters())


@pytest.mark.parametrize("size", [(90, 60), (40, 200), (33, 33), (128, 129), (7, 300), (400, 380)])
def test_slices_are_those_of_the_original(size: tuple[int, int]) -> None:
    picture = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    processor = MiniCPMV4_6ImageProcessorPil(scale_resolution=64, patch_size=PATCH, do_normalize=False)
    made = processor(picture[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    part = slices.Part(slices.Part.Config(side=64, patch=4 * PATCH), size=(64, 64))
    plan = part.plan(size, 1)
    grid = part.cells(size, 1)
    assert made["grids"] == [[grid.rows, grid.columns] if grid else [0, 0]]
    sizes = torch.tensor([view.size for view in plan.views])
    assert torch.equal(made["target_sizes"].long() * PATCH, sizes)
    cut = part.cut(picture, plan)
    ours = torch.cat([packed(view.float() / 255)[0] for view in cut], dim=-1)
    torch.testing.assert_close(made["pixel_values"], ours, atol=1e-6, rtol=0)
