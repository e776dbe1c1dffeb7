"""What Qwen3-VL reads of a clip is known exactly from its size and frames, text of times included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as of_stills
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from vidapt.hub import qwen3_vl
from vidapt.hub._open import parameters_on_meta
from vidapt.models.clip_rows import visual_tokens
from vidapt.models.packed import Words, reading_length, spell
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Grid, Moments, Stamp

BLOCK = 32 * 32
TEXT = {
    "model_type": "qwen3_vl_text",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 16,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]},
}
VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "out_hidden_size": 16,
    "num_position_embeddings": 9,
    "deepstack_visual_indexes": [0],
}


class Letters:
    """A tokenizer with a token for every letter."""

    def __call__(self, text: str, **options: Any) -> Any:
        return type("Written", (), {"input_ids": [ord(letter) % 16 for letter in text]})


@st.composite
def sizes(draw: st.DrawFn, short: int, long: int) -> tuple[int, int]:
    """Sides of which the longer is up to 190 times the shorter."""
    one = draw(st.integers(1, short))
    other = draw(st.integers(one, min(190 * one, long)))
    return (one, other) if draw(st.booleans()) else (other, one)


def built(vision: dict[str, Any]) -> Any:
    config = {"model_type": "qwen3_vl", "text_config": TEXT, "vision_config": {**VISION, **vision}}
    return qwen3_vl.blueprint(config, Path("nowhere"))


@pytest.fixture(scope="module")
def released() -> VideoLM:
    """Resolution, tower and connector of the released sizes, without memory for weights."""
    with parameters_on_meta():
        return VideoLM(built({}))


@given(size=sizes(4000, 12_000), frames=st.one_of(st.just(1), st.integers(2, 900)))
@settings(max_examples=300, deadline=None)
def test_the_layout_is_the_originals_count(released: VideoLM, size: tuple[int, int], frames: int) -> None:
    if frames == 1:
        height, width = of_stills(*size, factor=32, min_pixels=64 * BLOCK, max_pixels=16384 * BLOCK)
    else:
        height, width = smart_resize(frames, *size, factor=32, min_pixels=128 * BLOCK, max_pixels=768 * BLOCK)
    _, layout = released.plan(size, frames)
    slices = [piece for piece in layout if isinstance(piece, tuple)]
    assert slices == [(Grid(1, height // 32, width // 32), 0)] * -(-frames // 2)
    stamps = [piece for piece in layout if isinstance(piece, Stamp)]
    assert len(stamps) == 2 + (2 * len(slices) if frames > 1 else 0)


@pytest.fixture(scope="module")
def small() -> VideoLM:
    torch.manual_seed(0)
    blueprint = built({"patch_size": 2})
    native = {"kind": "native", "factor": 4, "min_pixels": 64, "max_pixels": 1024, "max_aspect": None}
    scenes = {"video": {**native, "over": "clip", "max_pixels": 2048, "kernel": "torch"}}
    return VideoLM(blueprint.model_copy(update={"resolution": native, "scenes": scenes})).eval()


@given(size=sizes(60, 300), frames=st.integers(1, 7), rate=st.floats(0.01, 60))
@settings(max_examples=500, deadline=None)
def test_what_is_read_is_what_was_planned(
    small: VideoLM, size: tuple[int, int], frames: int, rate: float
) -> None:
    plan, layout = small.plan(size, frames)
    moments = Moments(tuple(index / rate for index in range(frames)), frames / rate)
    views = small.cut(torch.zeros(frames, *size, 3, dtype=torch.uint8), 1, moments)
    assert views.plan == plan
    with torch.no_grad():
        visual = visual_tokens(small.read(small.see_views(views)))
    cells = sum(piece[0].cells for piece in layout if isinstance(piece, tuple))
    assert visual.shape == (1, cells, 16 * 2)
    reading = spell(layout, 0, Letters(), moments)
    spans = [len(piece.ids) if isinstance(piece, Words) else piece for piece in reading]
    assert small.positions.ids(spans)[0].shape == (3, reading_length(reading))
    pairs = [moments.seconds[at : at + 2] for at in range(0, frames, 2)]
    times = [f"<{(pair[0] + pair[-1]) / 2:.1f} seconds>" for pair in pairs] if frames > 1 else []
    marks = len("<|vision_start|><|vision_end|>")
    expected = cells + marks * (1 + len(times)) + sum(map(len, times))
    assert reading_length(reading) == expected
