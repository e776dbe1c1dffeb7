"""Qwen2-VL's tokens are known exactly from sizes and frames alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from vidapt.hub import qwen2_vl
from vidapt.hub._open import parameters_on_meta
from vidapt.models.clip_rows import visual_tokens
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

TEXT = {
    "model_type": "qwen2_vl_text",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
}


@st.composite
def sizes(draw: st.DrawFn, short: int, long: int) -> tuple[int, int]:
    """Sides of which the longer is up to 200 times the shorter."""
    one = draw(st.integers(1, short))
    other = draw(st.integers(one, min(200 * one, long)))
    return (one, other) if draw(st.booleans()) else (other, one)


@pytest.fixture(scope="module")
def released() -> VideoLM:
    """Resolution, tower and connector of the released sizes, without memory for weights."""
    vision = {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 16}
    with parameters_on_meta():
        return VideoLM(qwen2_vl.blueprint({"text_config": TEXT, "vision_config": vision}, Path("nowhere")))


@given(size=sizes(4000, 12_000), frames=st.one_of(st.just(1), st.integers(2, 10_000)))
@settings(max_examples=500, deadline=None)
def test_the_layout_is_the_originals_count(released: VideoLM, size: tuple[int, int], frames: int) -> None:
    least, most = (3136, 1280 * 784)
    if frames > 1:
        least = 128 * 784
        most = max(min(768 * 784, int(128_000 * 784 * 0.9) * 2 // frames), int(least * 1.05))
    height, width = smart_resize(*size, min_pixels=least, max_pixels=most)
    _, layout = released.plan(size, frames)
    ((grid, extra),) = layout
    assert extra == 0
    assert grid.cells == math.ceil(frames / 2) * (height // 28) * (width // 28) > 0


@pytest.fixture(scope="module")
def small() -> VideoLM:
    torch.manual_seed(0)
    vision = {"model_type": "qwen2_vl_vision", "depth": 1, "embed_dim": 16, "num_heads": 2, "patch_size": 2}
    native = {"kind": "native", "factor": 4, "min_pixels": 64, "max_pixels": 1024, "max_aspect": None}
    blueprint = Blueprint(
        towers=({"kind": "qwen2_vit", "arch": vision},),
        connector={"kind": "merge_mlp"},
        language=TEXT,
        resolution=native,
        scenes={"video": {**native, "total_pixels": 2048, "kernel": "torch"}},
        positions={"kind": "mrope"},
    )
    return VideoLM(blueprint).eval()


@given(size=sizes(60, 300), frames=st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_what_is_read_is_what_was_planned(small: VideoLM, size: tuple[int, int], frames: int) -> None:
    plan, layout = small.plan(size, frames)
    pixels = torch.zeros(frames, *size, 3, dtype=torch.uint8)
    views = small.cut(pixels)
    assert views.plan == plan
    with torch.no_grad():
        read = small.look(views.tensors, plan)
    assert visual_tokens(read).shape == (1, sum(grid.cells + extra for grid, extra in layout), 16)
    assert small.positions.ids(layout)[0].shape == (3, visual_tokens(read).shape[1])
