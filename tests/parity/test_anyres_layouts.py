"""The AnyRes families' weights open from every published layout, and go back to transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import parity_tools as tools
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_hub_layouts import authors, hub_2024, in_memory, rewrite

from vidapt.errors import CheckpointError
from vidapt.hub import (
    family_of,
    llava_interleave,
    llava_next,
    llava_next_video,
    llava_onevision,
    open_checkpoint,
)
from vidapt.hub._open import parameters_on_meta
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, fingerprint

FAMILIES: dict[str, tuple[Any, Callable[[], Any], Callable[[], Any], anyres.Prepare]] = {
    "llava_next": (llava_next, anyres.next_model, anyres.next_processor, anyres.next_given),
    "llava_next_video": (
        llava_next_video,
        anyres.next_video_model,
        anyres.next_processor,
        anyres.next_given,
    ),
    "llava_onevision": (
        llava_onevision,
        anyres.onevision_model,
        anyres.onevision_processor,
        anyres.onevision_given,
    ),
    "llava_interleave": (
        llava_interleave,
        anyres.interleave_model,
        anyres.siglip_processor,
        anyres.interleave_given,
    ),
}
NEWLINED = ["llava_next", "llava_next_video", "llava_onevision"]


def fresh(name: str, folder: Path) -> Path:
    _, oracle, processor, _ = FAMILIES[name]
    return anyres.save(oracle(), processor(), folder)


def authors_with_newline(key: str) -> str:
    return f"model.{key}" if key == "image_newline" else authors(key)


@pytest.mark.parametrize("name", NEWLINED)
@pytest.mark.parametrize("layout", [hub_2024, in_memory, authors_with_newline])
def test_every_layout_gives_the_same_model(name: str, layout: Callable[[str], str], tmp_path: Path) -> None:
    start = fresh(name, tmp_path / "start")
    assert "image_newline" in load_file(start / "model.safetensors")
    first, _, expected = open_checkpoint(start)
    second, _, report = open_checkpoint(rewrite(start, tmp_path / "other", layout, {}))
    assert report.family == name
    assert report.matched == expected.matched
    assert "resolution.newline" in report.matched
    rows = [[anyres.WIDE], [anyres.SMALL, anyres.TALL], [anyres.VIDEO]]
    for clips in rows:
        assert torch.equal(tools.our_logits(first, [clips]), tools.our_logits(second, [clips]))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_trained_model_goes_back_to_transformers(name: str, tmp_path: Path) -> None:
    family, oracle, _, prepare = FAMILIES[name]
    start, target = fresh(name, tmp_path / "start"), tmp_path / "target"
    model, _, _ = open_checkpoint(start)
    with torch.no_grad():
        model.connector.mlp[0].bias += 0.5
        if name in NEWLINED:
            model.resolution.newline += 1
    target.mkdir()
    save_file(family.to_hub(model.state_dict()), target / "model.safetensors")
    (target / "config.json").write_text((start / "config.json").read_text())
    back, info = type(oracle()).from_pretrained(target, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert anyres.difference(back.eval(), model, [anyres.WIDE], prepare) < tools.TOLERANCE


@pytest.mark.parametrize("name", NEWLINED)
def test_a_checkpoint_without_its_newline_is_refused(name: str, tmp_path: Path) -> None:
    start = fresh(name, tmp_path)
    state = load_file(start / "model.safetensors")
    del state["image_newline"]
    save_file(state, start / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"resolution\.newline"):
        open_checkpoint(start)


def test_scenes_share_one_newline(tmp_path: Path) -> None:
    model, _, _ = open_checkpoint(fresh("llava_onevision", tmp_path))
    newlines = {id(parameter) for name, parameter in model.named_parameters() if name.endswith(".newline")}
    assert len(newlines) == 1
    assert model.resolution_for(5).newline is model.resolution.newline
    assert model.resolution_for(1, 2).newline is model.resolution.newline


VICUNA = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "torch_dtype": "float16",
}
QWEN = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres_max_9",
    "image_grid_pinpoints": "(1x1),...,(6x6)",
}


def _tokens(blueprint: Blueprint, size: tuple[int, int], frames: int, together: int = 1) -> int:
    with parameters_on_meta():
        model = VideoLM(blueprint)
    return sum(p[0].cells + p[1] for p in model.plan(size, frames, together)[1] if not isinstance(p, str))


def test_the_authors_llava_next_is_told_from_llava_and_understood(tmp_path: Path) -> None:
    assert family_of(VICUNA, tmp_path) is llava_next
    assert family_of({**VICUNA, "image_aspect_ratio": "pad"}, tmp_path).FAMILY == "llava"
    blueprint = llava_next.blueprint(VICUNA, tmp_path)
    # The authors list (width, height): their first pinpoint is one tile wide and two tall.
    assert blueprint.resolution["grids"] == [(2, 1), (1, 2), (2, 2), (1, 3), (3, 1)]
    assert blueprint.resolution["rounding"] == "authors"
    assert blueprint.language["model_type"] == "llama"
    assert "torch_dtype" not in blueprint.language
    assert _tokens(blueprint, (336, 336), 1) == 1176
    for change in (
        {"mm_vision_tower": "openai/clip-vit-large-patch14-337"},
        {"mm_projector_type": "linear"},
        {"mm_patch_merge_type": "flat"},
        {"image_grid_pinpoints": "6x6"},
        {"image_grid_pinpoints": [[300, 672]]},
    ):
        with pytest.raises(CheckpointError, match=next(iter(change))):
            llava_next.blueprint({**VICUNA, **change}, tmp_path)


def test_the_authors_videos_of_april_and_august_are_told_apart(tmp_path: Path) -> None:
    april = {**VICUNA, "mm_spatial_pool_mode": "average", "mm_resampler_type": "spatial_pool"}
    assert family_of(april, tmp_path) is llava_next_video
    video = llava_next_video.blueprint(april, tmp_path).scenes["video"]
    assert (video["order"], video["newline"], video["pool"]) == ("pool_first", "none", "average")
    august = {**VICUNA, "mm_spatial_pool_mode": "bilinear", "mm_newline_position": "grid"}
    plan = llava_next_video.blueprint(august, tmp_path)
    assert plan.scenes["video"]["order"] == "connector_first"
    assert _tokens(plan, (336, 336), 32) == 32 * 12 * 13
    with pytest.raises(CheckpointError, match="mm_newline_position"):
        llava_next_video.blueprint({**august, "mm_newline_position": "everywhere"}, tmp_path)


def test_the_authors_onevision_has_the_published_budgets(tmp_path: Path) -> None:
    assert family_of(QWEN, tmp_path) is llava_onevision
    blueprint = llava_onevision.blueprint(QWEN, tmp_path)
    assert blueprint.towers[0]["layer"] == -1
    assert blueprint.towers[0]["mean"] == (0.5, 0.5, 0.5)
    assert _tokens(blueprint, (336, 336), 1) == 1485
    assert _tokens(blueprint, (1080, 1920), 1) == 7269
    assert _tokens(blueprint, (1080, 1920), 1, together=2) == 729 + 1
    assert _tokens(blueprint, (1080, 1920), 32) == 32 * 196 + 1
    grid = llava_onevision.blueprint({**QWEN, "mm_newline_position": "grid"}, tmp_path)
    assert _tokens(grid, (1080, 1920), 64) == 64 * 14 * 15
    assert fingerprint(grid) != fingerprint(blueprint)
    with pytest.raises(CheckpointError, match="aspect ratio"):
        llava_onevision.blueprint({**QWEN, "image_aspect_ratio": "square"}, tmp_path)


def test_tiles_of_another_size_than_the_towers_are_refused(tmp_path: Path) -> None:
    """Transformers' defaults: a processor of 224 pixels with pinpoints of 336, so that tiles are odd."""
    oracle = anyres.next_model()
    anyres.save(oracle, anyres.LlavaNextImageProcessorPil(), tmp_path)
    with pytest.raises(CheckpointError, match="for a tower of 28"):
        open_checkpoint(tmp_path)
    anyres.save(oracle, anyres.next_processor(), tmp_path)
    processor = anyres.LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size=anyres.SQUARE, image_grid_pinpoints=[[28, 28]]
    )
    processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="image_grid_pinpoints"):
        open_checkpoint(tmp_path)
