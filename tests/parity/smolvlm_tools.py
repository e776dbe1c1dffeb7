"""SmolVLM2 as transformers has it, with tiny random weights, and what its processor writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import modern_tools as modern
import parity_tools as tools
import published_tools as published
import torch
from torch import Tensor
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE, SmolVLMProcessor
from transformers.video_utils import VideoMetadata

from vidapt.models.video_lm import VideoLM

SIDE, PATCH, SEEN = 36, 6, 4
"""Of a tile and a patch in pixels, and how many tokens a tile becomes (3 x 3 cells each)."""

LONG = 3 * SIDE

STILL, WIDE, TALL = (
    tools.film(1, 56, 70),
    tools.film(1, 20, 150, seed=1),
    tools.film(1, 90, 31, seed=2),
)
VIDEO, OTHER = tools.film(5, 40, 24, seed=4), tools.film(13, 33, 60, seed=5)

AROUND = "<fake_token_around_image>"
PLACES = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
MARKS = ("<|im_start|>", "<end_of_utterance>", AROUND, "<global-img>", "<image>", "<video>", *PLACES)


def tokenizer_of() -> Any:
    return published.byte_tokenizer(None, "<|endoftext|>", MARKS)


def slot_of(tokenizer: Any) -> int:
    return int(tokenizer.convert_tokens_to_ids("<image>"))


def oracle_of(**changes: Any) -> SmolVLMForConditionalGeneration:
    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    seen = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "initializer_range": 0.1,
    }
    text = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer) + 3,
        "max_position_embeddings": 2048,
        "initializer_range": 0.4,
        "bos_token_id": None,
        "eos_token_id": None,
        "rms_norm_eps": 1e-5,
    }
    given = {"image_token_id": slot_of(tokenizer), "scale_factor": 3}
    config = SmolVLMConfig(vision_config=seen, text_config=text, **{**given, **changes})
    return tools.shake(SmolVLMForConditionalGeneration(config))


PIXELS = {"size": {"longest_edge": LONG}, "max_image_size": {"longest_edge": SIDE}}
SAMPLING = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": SIDE}}


def processor_of() -> SmolVLMImageProcessorPil:
    return SmolVLMImageProcessorPil(**PIXELS, return_row_col_info=True)


def save(oracle: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    oracle.save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    processor_of().save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "video_sampling": SAMPLING}))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": DEFAULT_CHAT_TEMPLATE}))
    return folder


def own() -> SimpleNamespace:
    """What the processor's methods need of it."""
    return SimpleNamespace(
        image_seq_len=SEEN,
        fake_image_token=AROUND,
        image_token="<image>",
        global_image_token="<global-img>",
    )


def read(model: VideoLM, tokenizer: Any, clips: Sequence[Tensor]) -> modern.Theirs:
    """A question behind clips, as the released template and processor write it."""
    pixels: list[Tensor] = []
    content: list[dict[str, str]] = []
    shown: list[str] = []
    for clip in clips:
        if len(clip) == 1:
            made = processor_of()(clip[0].numpy(), return_tensors="pt", input_data_format="channels_last")
            pixels.append(made["pixel_values"][0])
            shown.append(SmolVLMProcessor.replace_image_token(own(), made, 0))
            content.append({"type": "image"})
        else:  # their video processor needs torchvision; the frames are those that we cut
            pixels.append(model.cut(clip).tensors[0][0].float() / 255 * 2 - 1)
            # The metadata of a film of which every frame was taken.
            told = VideoMetadata(len(clip), modern.RATE, duration=len(clip) / modern.RATE)
            told.frames_indices = list(range(len(clip)))
            made = {"pixel_values": pixels[-1][None], "video_metadata": [told]}
            shown.append(SmolVLMProcessor.replace_video_token(own(), made, 0))
            content.append({"type": "video"})
    content.append({"type": "text", "text": modern.QUESTION})
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=DEFAULT_CHAT_TEMPLATE,
        add_generation_prompt=True,
        tokenize=False,
    )
    for words in shown:
        mark = "<video>" if "Frame from" in words else "<image>"
        head, tail = text.split(mark, 1)
        text = f"{head}{words.replace('<image>', '<slot>')}{tail}"
    text = text.replace("<slot>", "<image>")
    return modern.Theirs(tokenizer(text).input_ids, {"pixel_values": torch.cat(pixels)[None]})
