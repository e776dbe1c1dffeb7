"""Released configurations of InternVL3, SmolVLM2 and LLaVA-Video: tokens and frames of real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import VidaptError
from vidapt.hub import internvl, llava_video, smolvlm
from vidapt.hub._open import family_of, parameters_on_meta
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

INTERNVL3_1B: dict[str, Any] = {
    "architectures": ["InternVLChatModel"],
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "force_image_size": 448,
    "llm_config": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 70,
        "model_type": "qwen2",
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151674,
    },
    "max_dynamic_patch": 12,
    "min_dynamic_patch": 1,
    "model_type": "internvl_chat",
    "pad2square": False,
    "ps_version": "v2",
    "select_layer": -1,
    "template": "internvl2_5",
    "use_thumbnail": True,
    "vision_config": {
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": 448,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-06,
        "model_type": "intern_vit_6b",
        "norm_type": "layer_norm",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "qk_normalization": False,
        "qkv_bias": True,
    },
}

SMOLVLM2_256M: dict[str, Any] = {
    "architectures": ["SmolVLMForConditionalGeneration"],
    "image_token_id": 49190,
    "model_type": "smolvlm",
    "scale_factor": 4,
    "tie_word_embeddings": False,
    "text_config": {
        "architectures": ["VLlama3ForCausalLM"],
        "head_dim": 64,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "is_llama_config": True,
        "max_position_embeddings": 8192,
        "model_type": "llama",
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "perceiver_config": {"hidden_act": "silu"},
        "pixel_shuffle_factor": 4,
        "qk_layer_norms": False,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000,
        "vocab_size": 49280,
    },
    "vision_config": {
        "hidden_size": 768,
        "image_size": 512,
        "max_image_size": {"longest_edge": 512},
        "model_type": "smolvlm_vision",
        "num_attention_heads": 12,
        "patch_size": 16,
        "size": {"longest_edge": 2048},
        "use_base_siglip": False,
    },
}

SMOLVLM2_PIXELS = {
    "do_image_splitting": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "max_image_size": {"longest_edge": 512},
    "resample": 1,
    "size": {"longest_edge": 2048},
    "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 512}},
}

LLAVA_VIDEO_7B: dict[str, Any] = {
    "architectures": ["LlavaQwenForCausalLM"],
    "add_faster_video": False,
    "add_time_instruction": True,
    "force_sample": True,
    "hidden_size": 3584,
    "image_aspect_ratio": "anyres_max_9",
    "image_grid_pinpoints": "(1x1),...,(6x6)",
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "mm_newline_position": "grid",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_projector_type": "mlp2x_gelu",
    "mm_spatial_pool_mode": "bilinear",
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "model_type": "llava",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "vocab_size": 152064,
}


def built(blueprint: Blueprint) -> VideoLM:
    assert Blueprint.model_validate_json(blueprint.model_dump_json())
    with parameters_on_meta():
        return VideoLM(blueprint)


def tokens(model: VideoLM, size: tuple[int, int], frames: int) -> int:
    layout = model.plan(size, frames)[1]
    return sum(piece[0].cells + piece[1] for piece in layout if isinstance(piece, tuple))


def test_internvl3(tmp_path: Path) -> None:
    model = built(internvl.blueprint(INTERNVL3_1B, tmp_path))
    assert sum(p.numel() for p in model.parameters()) == 938_193_024
    assert tokens(model, (448, 448), 1) == 256
    assert tokens(model, (896, 1344), 1) == 256 * (1 + 6)
    assert tokens(model, (1080, 1920), 8) == 8 * 256
    assert model.language.config.rope_parameters["rope_type"] == "dynamic"


def test_smolvlm2(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SMOLVLM2_PIXELS))
    model = built(smolvlm.blueprint(SMOLVLM2_256M, tmp_path))
    assert sum(p.numel() for p in model.parameters()) == 256_484_928
    assert tokens(model, (1024, 1024), 1) == 64 * (1 + 16)
    assert tokens(model, (1080, 1920), 1) == 64 * (1 + 4 * 3)
    assert tokens(model, (1080, 1920), 10) == 10 * 64


def test_llava_video(tmp_path: Path) -> None:
    assert family_of(LLAVA_VIDEO_7B, tmp_path) is llava_video
    model = built(llava_video.blueprint(LLAVA_VIDEO_7B, tmp_path))
    assert 8.0e9 < sum(p.numel() for p in model.parameters()) < 8.1e9
    assert tokens(model, (1080, 1920), 64) == 64 * 14 * 15
    assert model.blueprint.frames.count == 64


@pytest.mark.parametrize("config", [INTERNVL3_1B, SMOLVLM2_256M])
def test_unknown_language_models_are_named(config: dict[str, Any], tmp_path: Path) -> None:
    name = "llm_config" if "llm_config" in config else "text_config"
    family = internvl if name == "llm_config" else smolvlm
    strange = {**config, name: {**config[name], "model_type": "internlm2"}}
    with pytest.raises(VidaptError, match="'internlm2'") as refused:
        built(family.blueprint(strange, tmp_path))
    assert len(str(refused.value)) < 400  # transformers' own message lists all it knows
