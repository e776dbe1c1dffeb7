"""Text models whose positions have three axes read them as the whole models of transformers do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hybrid_tools import DENSE, EXPERTS, MIXTURE
from test_language_models import SIZES
from transformers import AutoConfig, AutoModelForImageTextToText

from vidapt.models._language import language_model

ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 100.0}
# Frequencies of a head of 8 or 16 numbers, by axis: of time, height and width.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": ("qwen2_vl_text", {"rope_parameters": {**ROPE, "mrope_section": [1, 1, 2]}}),
    "qwen2_5_vl": ("qwen2_5_vl_text", {"rope_parameters": {**ROPE, "mrope_section": [1, 1, 2]}}),
    "qwen3_vl": ("qwen3_vl_text", {"head_dim": 16, "rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]}}),
    "qwen3_vl_moe": (
        "qwen3_vl_moe_text",
        {"head_dim": 16, **EXPERTS, "rope_parameters": {**ROPE, "mrope_section": [3, 3, 2]}},
    ),
    "qwen3_5": (
        "qwen3_5_text",
        {**DENSE, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}},
    ),
    "qwen3_5_moe": (
        "qwen3_5_moe_text",
        {**MIXTURE, "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}},
    ),
}
VISION = {
    "depth": 1,
    "hidden_size": 32,
    "embed_dim": 32,
    "intermediate_size": 16,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 4,
    "deepstack_visual_indexes": [],
    "fullatt_block_indexes": [0],
    "num_position_embeddings": 16,
}


def whole_model(family: str, language: Any) -> Any:
    """The family's model with its tower, and the text model's weights."""
    text = language.config.to_dict()
    config = AutoConfig.for_model(family, text_config=text, vision_config=VISION, tie_word_embeddings=False)
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa").eval()
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    return model


@torch.no_grad()
@pytest.mark.parametrize("family", CASES)
def test_three_axes_are_read_as_the_whole_model_reads_them(family: str) -> None:
    kind, more = CASES[family]
    torch.manual_seed(0)
    spec = {**SIZES, "initializer_range": 0.2, "tie_word_embeddings": False, **more, "model_type": kind}
    language = language_model(spec).eval()
    ids = torch.randint(3, 40, (2, 12))
    places = torch.randint(0, 30, (3, 2, 12)).sort(-1).values
    mask = torch.ones_like(ids)

    def states(positions: torch.Tensor) -> torch.Tensor:
        found = language.base_model(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return language.lm_head(found)  # type: ignore[no-any-return]

    theirs = whole_model(family, language)(input_ids=ids, position_ids=places, attention_mask=mask).logits
    assert (states(places) - theirs).abs().max() < 1e-4 * theirs.abs().max()
    for axis in range(3):
        others = places.clone()
        others[axis] = others[axis].flip(-1)
        assert (states(others) - theirs).abs().max() > 1e-3, f"axis {axis} is not read"
    # An equal number on all axes is a text's.
    line = torch.arange(12).expand(2, -1)
    assert torch.equal(states(line), states(line.expand(3, -1, -1)))
