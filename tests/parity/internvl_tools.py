"""InternVL as transformers has it, with tiny random weights, in the hub's layout and the authors'."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import modern_tools as modern
import parity_tools as tools
import published_tools as published
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor

from vidapt.models.video_lm import VideoLM

SIDE, PATCH, SEEN = 28, 7, 4
"""Of a tile and a patch in pixels, and how many tokens a tile becomes."""

STILL, WIDE, TALL, SMALL = (
    tools.film(1, 56, 56),
    tools.film(1, 40, 150, seed=1),
    tools.film(1, 90, 31, seed=2),
    tools.film(1, 20, 21, seed=3),
)
VIDEO, OTHER = tools.film(5, 40, 24, seed=4), tools.film(3, 33, 60, seed=5)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

MARKS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif content['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)
"""As the released checkpoints write turns."""


def tokenizer_of() -> Any:
    made = published.byte_tokenizer(None, "<|endoftext|>", MARKS)
    made.chat_template = TEMPLATE
    return made


def slot_of(tokenizer: Any) -> int:
    return int(tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))


def oracle_of(kind: str = "qwen2", vision: dict[str, Any] | None = None, **changes: Any) -> Any:
    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    seen = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": [SIDE, SIDE],
        "patch_size": [PATCH, PATCH],
        "attention_bias": True,
        "initializer_range": 0.1,
    }
    text = {
        "model_type": kind,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": len(tokenizer) + 5,
        "max_position_embeddings": 2048,
        "initializer_range": 0.4,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": False,
    }
    given = {"image_token_id": slot_of(tokenizer), "image_seq_length": SEEN, "tie_word_embeddings": False}
    config = InternVLConfig(
        vision_config={**seen, **(vision or {})}, text_config=text, **{**given, **changes}
    )
    return tools.shake(InternVLForConditionalGeneration(config))


def processor_of() -> GotOcr2ImageProcessorPil:
    return GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, crop_to_patches=True, image_mean=MEAN, image_std=STD
    )


def save(oracle: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    oracle.save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    processor_of().save_pretrained(folder)
    return folder


def authors_config(oracle: Any) -> dict[str, Any]:
    """As released in 2025, in its own words."""
    seen, text = oracle.config.vision_config, oracle.config.text_config.to_dict()
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": SIDE,
        "llm_config": {**text, "architectures": ["Qwen2ForCausalLM"], "_name_or_path": "Qwen"},
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "model_type": "internvl_chat",
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "use_thumbnail": True,
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "attention_dropout": 0.0,
            "drop_path_rate": 0.1,
            "hidden_act": "gelu",
            "hidden_size": seen.hidden_size,
            "image_size": SIDE,
            "initializer_factor": 0.1,
            "intermediate_size": seen.intermediate_size,
            "layer_norm_eps": 1e-6,
            "model_type": "intern_vit_6b",
            "norm_type": seen.norm_type,
            "num_attention_heads": seen.num_attention_heads,
            "num_channels": 3,
            "num_hidden_layers": seen.num_hidden_layers,
            "patch_size": PATCH,
            "qk_normalization": seen.use_qk_norm,
            "qkv_bias": seen.attention_bias,
        },
    }


_NAMES = (
    ("attention.projection_layer.", "attn.proj."),
    ("attention.q_norm.", "attn.q_norm."),
    ("attention.k_norm.", "attn.k_norm."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("lambda_1", "ls1"),
    ("lambda_2", "ls2"),
    ("encoder.layer.", "encoder.layers."),
    ("cls_token", "class_embedding"),
    ("patch_embeddings.projection.", "patch_embedding."),
    ("position_embeddings", "position_embedding"),
    ("multi_modal_projector.layer_norm.", "mlp1.0."),
    ("multi_modal_projector.linear_1.", "mlp1.1."),
    ("multi_modal_projector.linear_2.", "mlp1.3."),
    ("vision_tower.", "vision_model."),
)


def _authors_name(key: str) -> tuple[str, int | None]:
    """What the authors call a tensor; and which third of theirs it is, where they keep three in one."""
    key, third = key.removeprefix("model."), None
    if found := re.fullmatch(r"(vision_tower\..*)attention\.([qkv])_proj\.(.*)", key):
        key, third = f"{found[1]}attn.qkv.{found[3]}", "qkv".index(found[2])
    if key.startswith("language_model."):
        key = key.replace("language_model.", "language_model.model.")
    for ours, theirs in _NAMES:
        key = key.replace(ours, theirs)
    return "language_model." + key if key.startswith("lm_head") else key, third


def authors_state(oracle: Any) -> dict[str, Tensor]:
    """The same weights by the names of the authors' classes."""
    found: dict[str, list[Tensor]] = {}
    for key, tensor in oracle.state_dict().items():  # where three are one: queries, keys, values
        found.setdefault(_authors_name(key)[0], []).append(tensor)
    return {name: torch.cat(parts).clone().contiguous() for name, parts in found.items()}


def of_authors(folder: Path) -> Any:
    """transformers' class with the weights of a folder in the authors' layout."""
    oracle, state = oracle_of(), load_file(folder / "model.safetensors")
    held = {}
    for key in oracle.state_dict():
        name, third = _authors_name(key)
        held[key] = state.pop(name) if third is None else state[name].chunk(3)[third]
    oracle.load_state_dict(held)
    assert all("attn.qkv" in name for name in state), "a tensor of the folder is in no place"
    return oracle


def save_authors(oracle: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(authors_config(oracle)))
    tokenizer_of().save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    pixels = {"crop_size": SIDE, "do_resize": True, "image_mean": MEAN, "image_std": STD, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**pixels, "size": SIDE}))
    save_file(authors_state(oracle), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def expanded(clip: Tensor, tiles: int) -> str:
    """What the original's processor writes for a clip, by its own methods."""
    own = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=SEEN,
    )
    if len(clip) == 1:
        return InternVLProcessor.replace_image_token(own, {"num_patches": [tiles]}, 0)
    return InternVLProcessor.replace_video_token(own, {"pixel_values_videos": [clip]}, 0)


def read(model: VideoLM, tokenizer: Any, clips: Sequence[Tensor], before: str = "") -> modern.Theirs:
    """A question behind clips, as the released template and processor write it."""
    shown, pixels = "", []
    for clip in clips:
        if len(clip) == 1:
            made = processor_of()(clip[0].numpy(), return_tensors="pt", input_data_format="channels_last")
            pixels.append(made["pixel_values"])
        else:  # their video processor needs torchvision; the frames are those that we cut
            views = model.cut(clip).tensors[0][0].float() / 255
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
            pixels.append((views - mean) / std)
        shown += expanded(clip, len(pixels[-1])) + "\n"
    text = f"{before}<|im_start|>user\n{shown}{modern.QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    return modern.Theirs(tokenizer(text).input_ids, {"pixel_values": torch.cat(pixels)})
