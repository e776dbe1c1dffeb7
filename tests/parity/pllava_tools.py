"""PLLaVA's folders as its own code writes them, and what its processor makes of frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import parity_tools as tools
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.image_transforms import get_resize_output_image_size, resize
from transformers.image_utils import ChannelDimension, PILImageResampling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

LAST = ChannelDimension.LAST

VICUNA = {"_name_or_path": "lmsys/vicuna-7b-v1.5", "torch_dtype": "float16"}
YI = {
    "_name_or_path": "NousResearch/Nous-Hermes-2-Yi-34B",
    "eos_token_id": 7,
    "rope_theta": 5000000.0,
    "torch_dtype": "bfloat16",
    "use_cache": False,
}
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


def configuration(
    shape: Sequence[int], frames: int, text: Mapping[str, Any], base: str, image: int
) -> dict[str, Any]:
    """What `PllavaConfig` of the authors' training writes, as transformers 4.40.2 was seen to.

    Of the inner configurations it writes what differs from the classes' own defaults, and one field more.
    """
    known = tools.text_config().to_dict()
    sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
    fields = {key: known[key] for key in (*sizes, "num_key_value_heads", "vocab_size")}
    fields |= {"architectures": ["LlamaForCausalLM"], "gradient_checkpointing": False}
    fields |= {"max_position_embeddings": 4096, "model_type": "llama", "pad_token_id": 0, **text}
    vision = {
        key: value
        for key, value in tools.vision_config().to_dict().items()
        if key in (*sizes, "image_size", "patch_size", "projection_dim")
    }
    return {
        "_name_or_path": base,
        "architectures": ["PllavaForConditionalGeneration"],
        "frame_shape": [tools.CELLS, tools.CELLS],
        "gradient_checkpointing": True,
        "ignore_index": -100,
        "image_grid_pinpoints": PINPOINTS,
        "image_token_index": image,
        "model_type": "llava",
        "num_frames": frames,
        "pooling_method": "avg",
        "pooling_shape": list(shape),
        "projector_hidden_act": "gelu",
        "text_config": fields,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.2",
        "use_image_newline_parameter": True,
        "use_pooling": True,
        "vision_config": {**vision, "model_type": "clip_vision_model", "vocab_size": 32000},
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": fields["vocab_size"],
    }


def add_processor(folder: Path) -> None:
    """Write what `PllavaProcessor.save_pretrained` writes: CLIP's fields among those of LLaVA-NeXT's file."""
    tools.add_processors(folder)
    told = {
        "aspect_ratio_setting": "anyres",
        "crop_size": {"height": tools.SIDE, "width": tools.SIDE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": PINPOINTS,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "processor_class": "PllavaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": tools.SIDE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    mine = {"center_pad": False, "longest_edge": 762, "shortest_edge": 336}
    (folder / "processor_config.json").write_text(json.dumps({**mine, "processor_class": "PllavaProcessor"}))
    (folder / "added_tokens.json").write_text(json.dumps({"<image>": 62, "<pad>": 63}))


def write_shards(folder: Path, state: Mapping[str, Tensor], count: int = 3) -> None:
    """Write weights as `save_pretrained` does where they are too many for one file."""
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    places = {key: names[index * count // len(state)] for index, key in enumerate(state)}
    for name in names:
        part = {key: state[key].contiguous() for key, place in places.items() if place == name}
        save_file(part, folder / name, metadata={"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pixels_of(frames: Tensor, processor: CLIPImageProcessorPil) -> Tensor:
    """[T, 3, side, side] normalised, from frames [T, H, W, 3] uint8."""
    pictures = [frame.numpy() for frame in frames]
    height, width = pictures[0].shape[:2]
    ratio = max(height, width) / min(height, width)
    side: int = processor.size["shortest_edge"]
    short = max(min(min(height, width), int(min(640, max(height, width)) / ratio)), side)
    longest = int(short * ratio)
    shrunk = [_shrunk(picture, short, side) for picture in pictures]
    assert min(shrunk[0].shape[:2]) == short
    tall = shrunk[0].shape[0] > shrunk[0].shape[1]
    start = (max(shrunk[0].shape[:2]) - longest) // 2 // 2
    cut = [p[start : start + longest] if tall else p[:, start : start + longest] for p in shrunk]
    made = processor(cut, return_tensors="np", input_data_format=LAST)["pixel_values"]
    return torch.from_numpy(np.asarray(made))


def _shrunk(picture: Any, short: int, side: int) -> Any:
    size = get_resize_output_image_size(
        picture, size=short, default_to_square=False, max_size=9999, input_data_format=LAST
    )
    if min(size) < side:
        size = get_resize_output_image_size(
            picture, size=short, default_to_square=False, input_data_format=LAST
        )
    return resize(
        picture, size=size, resample=PILImageResampling.BICUBIC, data_format=LAST, input_data_format=LAST
    )
