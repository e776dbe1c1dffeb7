"""LLaVA-Video in the authors' layout, with tiny random weights: the equations of its videos written out.

Stills are those of LLaVA-OneVision, which transformers has; its modules are used for the tower, the projector
and the language model. What the authors do to videos stands here: bilinear halves, a newline behind every
row, and a sentence about the times.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import modern_tools as modern
import parity_tools as tools
import published_tools as published
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from vidapt.models.video_lm import VideoLM

TOWER = "siglip-tiny"


def tokenizer_of() -> Any:
    return published.byte_tokenizer(None, "<|endoftext|>", ("<|im_start|>", "<|im_end|>", "<slot>"))


def slot_of(tokenizer: Any) -> int:
    return int(tokenizer.convert_tokens_to_ids("<slot>"))


def oracle_of() -> LlavaOnevisionForConditionalGeneration:
    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    text = anyres.qwen_config()
    text.vocab_size = len(tokenizer) + 4
    config = LlavaOnevisionConfig(
        vision_config=anyres.siglip_config(),
        text_config=text,
        image_token_index=slot_of(tokenizer),
        video_token_index=len(tokenizer) + 1,
        image_grid_pinpoints=anyres.UP_TO_6,
        vision_aspect_ratio="anyres_max_9",
    )
    return tools.shake(LlavaOnevisionForConditionalGeneration(config))


def config_of(oracle: Any, **changes: Any) -> dict[str, Any]:
    """`config.json` as the authors released it, with tiny sizes."""
    text = oracle.config.text_config
    names = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads")
    names = (*names, "num_hidden_layers", "num_key_value_heads", "vocab_size", "rms_norm_eps")
    return {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava",
        "add_faster_video": False,
        "add_time_instruction": True,
        "faster_token_stride": 10,
        "force_sample": True,
        "hidden_act": "silu",
        "image_aspect_ratio": "anyres_max_9",
        "image_grid_pinpoints": "(1x1),...,(6x6)",
        "mm_hidden_size": 16,
        "mm_newline_position": "grid",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_spatial_pool_mode": "bilinear",
        "mm_spatial_pool_stride": None,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"google/{TOWER}",
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        **{name: getattr(text, name) for name in names},
        **changes,
    }


_NAMES = (
    ("vision_tower.", "model.vision_tower.vision_tower.vision_model."),
    ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("language_model.", "model."),
    ("image_newline", "model.image_newline"),
)


def _theirs(key: str) -> str:
    own = key.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")
    return next((new + own.removeprefix(old) for old, new in _NAMES if own.startswith(old)), own)


def save(oracle: Any, folder: Path, **changes: Any) -> Path:
    (folder / TOWER).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_of(oracle, **changes)))
    # The authors' code takes the last layer and the head away from what the tower's name stands for.
    seen = {
        **oracle.config.vision_config.to_dict(),
        "num_hidden_layers": 4,
        "model_type": "siglip_vision_model",
    }
    del seen["vision_use_head"]
    (folder / TOWER / "config.json").write_text(json.dumps(seen))
    tokenizer_of().save_pretrained(folder)
    state = {_theirs(key): tensor.clone().contiguous() for key, tensor in oracle.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def of_authors(folder: Path) -> Any:
    """The modules with the weights of a folder in the authors' layout."""
    oracle, state = oracle_of(), load_file(folder / "model.safetensors")
    oracle.load_state_dict({key: state.pop(_theirs(key)) for key in oracle.state_dict()})
    assert not state, "a tensor of the folder is in no place"
    return oracle


@torch.no_grad()
def video_tokens(oracle: Any, frames: Tensor) -> Tensor:
    """[T, 3, side, side] normalised pixels -> [T * 4 * 5, D], by the authors' rules."""
    own = oracle.model
    seen = own.vision_tower(frames, output_hidden_states=True).hidden_states[-1]
    read = own.multi_modal_projector(seen)
    side = round(read.shape[1] ** 0.5)
    cells = read.reshape(len(read), side, side, -1).permute(0, 3, 1, 2)
    half = -(-side // 2)
    cells = F.interpolate(cells, size=(half, half), mode="bilinear").permute(0, 2, 3, 1)
    newline = own.image_newline.expand(len(cells), half, 1, -1)
    return torch.cat([cells, newline], dim=2).flatten(0, 2)


@torch.no_grad()
def still_tokens(oracle: Any, stills: Sequence[Tensor]) -> list[Tensor]:
    """What transformers' class makes of stills of one conversation."""
    made = anyres.onevision_processor()(
        [anyres.pictures(stills)], return_tensors="pt", input_data_format="channels_last"
    )
    found = oracle.model.get_image_features(
        made["pixel_values"], made["image_sizes"], batch_num_images=made["batch_num_images"]
    )
    features = getattr(found, "pooler_output", found)
    return list(features)


def sentence(clip: Tensor) -> str:
    """As the authors' code writes it, of a film of which every frame is taken."""
    times = ",".join(f"{index / modern.RATE:.2f}s" for index in range(len(clip)))
    return (
        f"The video lasts for {len(clip) / modern.RATE:.2f} seconds, and {len(clip)} frames are uniformly "
        f"sampled from it. These frames are located at {times}.Please answer the following questions related "
        "to this video."
    )


def read(oracle: Any, model: VideoLM, tokenizer: Any, clips: Sequence[Tensor]) -> modern.Theirs:
    """A question behind clips, by the authors' template; text between images is tokenised piece by piece."""
    stills = iter(still_tokens(oracle, found) if (found := [c for c in clips if len(c) == 1]) else [])
    tokens, behind = [], []
    for clip in clips:
        if len(clip) == 1:
            tokens.append(next(stills))
            behind.append("\n")
        else:
            frames = model.cut(clip, len(clips)).tensors[0][0].float() / 255 * 2 - 1
            tokens.append(video_tokens(oracle, frames))
            behind.append(f"\n{sentence(clip)}\n")
    behind[-1] += f"{modern.QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    ids = list(tokenizer(start).input_ids)
    for made, text in zip(tokens, behind, strict=True):
        ids += [slot_of(tokenizer)] * len(made) + tokenizer(text).input_ids
    words = oracle.get_input_embeddings()(torch.tensor([ids]))
    hidden = torch.tensor([ids]) == slot_of(tokenizer)
    embeds = words.masked_scatter(hidden.unsqueeze(-1), torch.cat(tokens).to(words.dtype))
    return modern.Theirs(ids, {"inputs_embeds": embeds.detach()})
