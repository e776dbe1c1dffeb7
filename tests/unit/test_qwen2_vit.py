"""The tower `qwen2_vit` sees what transformers' Qwen2-VL vision model sees, in natural order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from vidapt.nouns import Grid
from vidapt.towers.qwen2_vit import Part

P = 4
ARCH = {
    "model_type": "qwen2_vl_vision",
    "depth": 3,
    "embed_dim": 16,
    "hidden_size": 8,
    "mlp_ratio": 2,
    "num_heads": 2,
    "patch_size": P,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="module")
def oracle() -> Qwen2VisionTransformerPretrainedModel:
    torch.manual_seed(0)
    model = Qwen2VisionTransformerPretrainedModel._from_config(AutoConfig.for_model(**ARCH))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def build(oracle: Qwen2VisionTransformerPretrainedModel, **fields: Any) -> Part:
    part = Part(Part.Config(arch=ARCH, **fields)).eval()
    state = {name: x for name, x in oracle.state_dict().items() if not name.startswith("merger.")}
    part.net.load_state_dict(state)
    return part


def film(frames: int, height: int, width: int, clips: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, 256, (clips, frames, 3, height, width), dtype=torch.uint8, generator=generator)


def natural(states: Tensor, grid: Grid) -> Tensor:
    """[t * h * w, C] in 2 x 2 blocks -> [t, h, w, C]."""
    placed = torch.empty(grid.t, grid.h, grid.w, states.shape[-1])
    at = iter(states)
    for t in range(grid.t):
        for row in range(0, grid.h, 2):
            for column in range(0, grid.w, 2):
                for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    placed[t, row + down, column + right] = next(at)
    return placed


def patches(slices: Tensor, part: Part) -> Tensor:
    """Patches of [t, 2, 3, H, W] pixels, normalised, in the original's order, loop by loop."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (part.mean, part.std))
    rows = []
    for pair in (slices.float() / 255 - mean) / std:
        for top in range(0, pair.shape[-2], 2 * P):
            for left in range(0, pair.shape[-1], 2 * P):
                for down, right in ((0, 0), (0, P), (P, 0), (P, P)):
                    patch = pair[..., top + down : top + down + P, left + right : left + right + P]
                    rows.append(patch.transpose(0, 1).flatten())
    return torch.stack(rows)


@torch.no_grad()
def theirs(oracle: Qwen2VisionTransformerPretrainedModel, part: Part, slices: Tensor) -> Tensor:
    grid = Grid(len(slices), slices.shape[-2] // P, slices.shape[-1] // P)
    thw = torch.tensor([[grid.t, grid.h, grid.w]])
    return natural(oracle(patches(slices, part), grid_thw=thw).last_hidden_state, grid)


def pairs(clip: Tensor) -> Tensor:
    """[T, ...] -> [t, 2, ...] with the last frame repeated where T is odd."""
    if len(clip) % 2:
        clip = torch.cat([clip, clip[-1:]])
    return clip.reshape(-1, 2, *clip.shape[1:])


@torch.no_grad()
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 24), (2, 8, 8), (5, 24, 16), (6, 8, 40)])
def test_features_equal_transformers(oracle: Any, frames: int, height: int, width: int) -> None:
    part, clips = build(oracle), film(frames, height, width, clips=2)
    seen = part(clips)
    assert seen.grid == part.grid(frames, (height, width)) == Grid((frames + 1) // 2, height // P, width // P)
    for clip, x in zip(clips, seen.x, strict=True):
        torch.testing.assert_close(x, theirs(oracle, part, pairs(clip)), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_still_equals_the_processors_patches(oracle: Any) -> None:
    part, clip = build(oracle), film(1, 16, 24)
    processor = Qwen2VLImageProcessorPil(patch_size=P, do_resize=False)
    made = processor(clip[0, 0].permute(1, 2, 0).numpy(), return_tensors="pt")
    states = oracle(made["pixel_values"], grid_thw=made["image_grid_thw"]).last_hidden_state
    torch.testing.assert_close(part(clip).x[0], natural(states, Grid(1, 4, 6)), atol=1e-5, rtol=0)


def _without_duplicate(clip: Tensor) -> Tensor:
    return torch.stack([clip[-1], torch.zeros_like(clip[-1])])[None]


def _turned(clip: Tensor) -> Tensor:
    return pairs(clip.transpose(-1, -2))


@torch.no_grad()
@pytest.mark.parametrize("mistake", [_without_duplicate, _turned])
def test_a_mistake_breaks_the_match(oracle: Any, mistake: Callable[[Tensor], Tensor]) -> None:
    part, clip = build(oracle), film(1, 16, 24)
    wrong = theirs(oracle, part, mistake(clip[0]))
    if mistake is _turned:
        wrong = wrong.transpose(1, 2)
    assert (part(clip).x[0] - wrong).abs().max() > 1e-3


@torch.no_grad()
def test_rows_and_columns_have_positions_of_their_own(oracle: Any) -> None:
    part, clip = build(oracle), film(2, 16, 16)
    right = part(clip).x
    rotary = part.net.rotary_pos_emb
    part.net.rotary_pos_emb = torch.nn.Module()
    part.net.rotary_pos_emb.forward = lambda x, places: rotary(x, places.flip(1))
    assert (part(clip).x - right).abs().max() > 1e-3


@torch.no_grad()
def test_slices_do_not_see_each_other_and_chunks_change_nothing(oracle: Any) -> None:
    whole, clip = build(oracle), film(9, 16, 16, clips=2)
    chunked = build(oracle, patches_at_once=48)
    torch.testing.assert_close(chunked(clip).x, whole(clip).x, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole(clip[:, 2:4]).x[:, 0], whole(clip).x[:, 1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_ten_thousand_frames_are_computed_a_few_at_a_time(oracle: Any) -> None:
    part = build(oracle, patches_at_once=64)
    largest = 0

    def note(module: Any, inputs: tuple[Tensor]) -> None:
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    part.net.patch_embed.register_forward_pre_hook(note)
    still = film(1, 8, 8)
    seen = part(still.expand(1, 10_000, 3, 8, 8))
    assert seen.x.shape == (1, 5_000, 2, 2, 16)
    assert largest == 64


def test_the_size_must_divide_into_patches(oracle: Any) -> None:
    with pytest.raises(ValueError, match="8x9 pixels do not divide"):
        build(oracle).grid(1, (8, 9))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValidationError, match="clip_vision_model"):
        Part.Config(arch={"model_type": "clip_vision_model"})


def test_a_dtype_in_a_published_config_does_not_decide() -> None:
    assert Part(Part.Config(arch={**ARCH, "dtype": "float16"}))(film(1, 8, 8)).x.dtype == torch.float32
