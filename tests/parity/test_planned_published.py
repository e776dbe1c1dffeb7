"""A published model of seven billion parameters is planned from its configuration and its tokenizer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import parity_tools
import pytest
from training_tools import silent, tokenizer, write_clips
from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextVideoConfig

from vidapt.hub import describe_checkpoint
from vidapt.loading import open_model, outline_model
from vidapt.planning.plan import Means, plan_recipe
from vidapt.recipe import Recipe
from vidapt.training.outlook import outlook

GIB = 2**30


def seven_billion(folder: Path, layers: int = 32) -> Path:
    """LLaVA-NeXT-Video-7B's folder without its weights, with as many layers in its language model."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        vocab_size=32064,
        max_position_embeddings=4096,
    )
    config = LlavaNextVideoConfig(
        vision_config=vision, text_config=text, image_token_index=32001, video_token_index=32000
    )
    config.architectures = ["LlavaNextVideoForConditionalGeneration"]
    config.dtype = "float16"
    config.save_pretrained(folder)
    sides = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    parity_tools.add_processors(folder, **sides)
    tokenizer().save_pretrained(folder)
    return folder


def adapting(start: Path, labels: Path, **changes: Any) -> Recipe:
    stage = {
        "name": "adapt",
        "train": {"towers": "frozen", "connector": "full", "language": "lora", "lora": {"rank": 128}},
        "batching": {"clips": 2, "questions": 3},
        "precision": "bfloat16",
        "steps": 100,
        **changes,
    }
    return Recipe.model_validate({"name": "run", "start": str(start), "data": str(labels), "stages": [stage]})


def test_seven_billion_parameters_are_planned_in_seconds(tmp_path: Path) -> None:
    start, labels = seven_billion(tmp_path / "seven"), write_clips(tmp_path / "clips", clips=3)
    plan = plan_recipe(outlook(adapting(start, labels), silent), Means("a100-80g"))
    (stage,) = plan.stages
    assert stage.parts["towers"][0] == pytest.approx(0.303e9, rel=0.02)
    assert stage.parts["language"][0] == pytest.approx(6.74e9 + 0.32e9, rel=0.01)
    assert stage.memory is not None
    # Matrices of 6.5 billion in sixteen bits; embeddings, tower and adapters in 32.
    assert stage.memory.weights == pytest.approx((6.48e9 * 2 + (0.26e9 + 0.3e9 + 0.33e9) * 4), rel=0.05)
    assert stage.memory.optimizer == pytest.approx(2 * 4 * stage.trained)
    full = adapting(start, labels, train={"language": "full"})
    too_much = plan_recipe(outlook(full, silent), Means("a100-80g"))
    assert "memory" in [one.id for one in too_much.errors]


def test_what_is_computed_again_is_not_held(tmp_path: Path) -> None:
    start, labels = seven_billion(tmp_path / "short", layers=4), write_clips(tmp_path / "clips", clips=3)
    held, computed = (
        plan_recipe(outlook(adapting(start, labels, **changes), silent), Means("a100-80g")).stages[0]
        for changes in ({}, {"recompute": True})
    )
    assert held.memory is not None
    assert computed.memory is not None
    assert computed.memory.activations < 0.5 * held.memory.activations
    assert computed.flops > 1.2 * held.flops


def test_an_outline_has_the_sizes_of_what_is_opened(tmp_path: Path) -> None:
    folder = parity_tools.save(parity_tools.next_video(vocab_size=320), tmp_path / "small")
    tokenizer().save_pretrained(folder)
    whole, _ = open_model(folder)
    bare, _ = describe_checkpoint(folder)
    mapped, _ = outline_model(folder)
    shapes = {name: weight.shape for name, weight in whole.named_parameters()}
    for one in (bare, mapped):
        assert {name: weight.shape for name, weight in one.named_parameters()} == shapes
        assert one.blueprint == whole.blueprint
    (folder / "model.safetensors").unlink()
    alone, _ = outline_model(folder)
    assert all(weight.is_meta for weight in alone.parameters())
