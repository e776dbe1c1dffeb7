"""MiniCPM-V 4.6 as transformers has it, with tiny random weights, and what its processor writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import modern_tools as modern
import numpy as np
import parity_tools as tools
import published_tools as published
import torch
from torch import Tensor
from transformers import (
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_7Config,
    MiniCPMV4_7ForConditionalGeneration,
)
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor

from vidapt.models.video_lm import VideoLM

PATCH, SCALE = 4, 48

STILL, WIDE, TALL = (
    tools.film(1, 56, 70),
    tools.film(1, 40, 150, seed=1),
    tools.film(1, 30, 21, seed=2),
)
VIDEO, OTHER = tools.film(5, 40, 64, seed=4), tools.film(3, 33, 30, seed=5)

MARKS = (
    *("<|im_start|>", "<|im_end|>", "<image>", "</image>", "<slice>", "</slice>"),
    *("<image_id>", "</image_id>", "<|image_pad|>", "<|video_pad|>"),
)
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<|image_pad|>' }}"
    "{% elif content['type'] == 'video' %}{{ '<|video_pad|>' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer_of() -> Any:
    made = published.byte_tokenizer(None, "<|endoftext|>", MARKS)
    made.chat_template = TEMPLATE
    return made


def slot_of(tokenizer: Any) -> int:
    return int(tokenizer.convert_tokens_to_ids("<|image_pad|>"))


def canvas_ids(tokenizer: Any) -> dict[str, int]:
    """What the configuration of version 4.7 says of its marks."""
    marks = {"image_start_id": "<image>", "image_end_id": "</image>"}
    marks |= {"slice_start_id": "<slice>", "slice_end_id": "</slice>"}
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    return {**ids, "newline_id": tokenizer("\n").input_ids[0]}


def oracle_of(version: float = 4.6, **changes: Any) -> Any:
    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    seen = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 10 * PATCH,
        "patch_size": PATCH,
    }
    text = {
        "model_type": "qwen3_5_text",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "vocab_size": len(tokenizer) + 3,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": False,
    }
    given = {
        "image_token_id": slot_of(tokenizer),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "insert_layer_id": 1,
        "tie_word_embeddings": False,
    }
    kind: Any = MiniCPMV4_6Config
    if version == 4.7:
        kind = MiniCPMV4_7Config
        given |= canvas_ids(tokenizer)
    config = kind(vision_config=seen, text_config=text, **{**given, **changes})
    whole = MiniCPMV4_7ForConditionalGeneration if version == 4.7 else MiniCPMV4_6ForConditionalGeneration
    model: Any = whole(config)
    with torch.no_grad():  # its merger begins with weights of deviation 1
        for parameter in model.model.vision_tower.vit_merger.parameters():
            parameter.mul_(0.2)
    return tools.shake(model)


def processor_of(mode: str = "16x") -> MiniCPMV4_6ImageProcessorPil:
    return MiniCPMV4_6ImageProcessorPil(scale_resolution=SCALE, patch_size=PATCH, downsample_mode=mode)


def save(oracle: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    oracle.save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    processor_of(oracle.config.downsample_mode).save_pretrained(folder)
    video = {"scale_resolution": SCALE, "patch_size": PATCH, "max_num_frames": 16, "stack_frames": 1}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    return folder


def own() -> SimpleNamespace:
    """What the processor's methods need of it."""
    return SimpleNamespace(
        slice_mode=True,
        video_slice_mode=True,
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        image_start_token="<image>",
        image_end_token="</image>",
        slice_start_token="<slice>",
        slice_end_token="</slice>",
    )


def read(model: VideoLM, tokenizer: Any, clips: Sequence[Tensor]) -> modern.Theirs:
    """A question behind clips, as template and processor write it; frames go in as so many stills."""
    mode = "16x" if model.tower.cfg.merges else "4x"
    divisor = 16 if mode == "16x" else 4
    pixels, sizes, shown = [], [], ""
    for index, clip in enumerate(clips):
        shown += f"<image_id>{index}</image_id>"
        for frame in clip:
            made = processor_of(mode)(frame.numpy(), return_tensors="pt", input_data_format="channels_last")
            pixels.append(made["pixel_values"])
            sizes.append(made["target_sizes"])
            shown += MiniCPMV4_6Processor.replace_image_token(own(), made, 0, image_token_divisor=divisor)
    text = f"<|im_start|>user\n{shown}{modern.QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    given = {"pixel_values": torch.cat(pixels, dim=-1), "target_sizes": torch.cat(sizes)}
    ids = tokenizer(text).input_ids
    if model.blueprint.positions["kind"] == "canvas":
        given["mm_token_type_ids"] = torch.tensor([[int(token == slot_of(tokenizer)) for token in ids]])
    return modern.Theirs(ids, given)


def video_text(clip: Tensor) -> str:
    """What the processor writes for a video, its frames being as its image processor cuts them."""
    made = [
        processor_of()(frame.numpy(), return_tensors="pt", input_data_format="channels_last")
        for frame in clip
    ]
    given = {
        "target_sizes_videos": np.concatenate([one["target_sizes"].numpy() for one in made]),
        "num_frames_per_video": [len(clip)],
        "grids_videos": np.array([one["grids"][0] for one in made]),
    }
    return MiniCPMV4_6Processor.replace_video_token(own(), given, 0, video_token_divisor=16)
