"""What families with AnyRes share: tiles of a still, the learned newline, and the authors' own files.

Source: transformers' `LlavaNextConfig` and its relatives; the configurations of the authors' checkpoints,
which are flat, name their vision tower instead of describing it, and write `mm_` before what joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config

from vidapt.errors import CheckpointError, nearest
from vidapt.hub import _composed
from vidapt.hub._chat import prompt_of
from vidapt.hub._keys import Rule, rewrite
from vidapt.hub._preprocess import CLIP_MEAN, CLIP_STD, FILTERS, Pixels, settings
from vidapt.hub._prompts import prompt_for
from vidapt.recipe import Prompt, Spec

CHATML = Prompt(
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>",
    system="<|im_start|>system\n{text}<|im_end|>",
    user="\n<|im_start|>user\n{text}<|im_end|>",
    opening="\n<|im_start|>assistant\n",
    end="<|im_end|>",
    media="{media}\n",
)
"""The authors' `qwen_1_5`; line breaks stand in front of turns here, so that none belongs to an answer."""

LLAMA_3 = Prompt(
    start=(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "You are a helpful language and vision assistant. You are able to understand the visual content that "
        "the user provides, and assist the user with a variety of tasks using natural language.<|eot_id|>"
    ),
    user="<|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>",
    opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
    end="<|eot_id|>",
    media="{media}\n",
)
"""The authors' `llava_llama_3`."""

_LLAMA_3_VOCABULARY = 128_000
"""Llama 3's vocabulary tells it from Vicuna and Yi, which are Llamas by architecture too."""

NEWLINE_KEY = "resolution.newline"

RULES = (
    *_composed.RECOMPUTED,
    Rule(r"(?:model\.)?image_newline", NEWLINE_KEY),
    Rule(r"model\.vision_tower\.vision_tower\.vision_model\.(.*)", r"towers.0.net.\1"),
    Rule(r"model\.mm_projector\.([02])\.(.*)", r"connector.mlp.\1.\2"),
    Rule(r"model\.((?:embed_tokens|layers|norm)\..*)", r"language.model.\1"),
    *_composed.HUB,
)
"""Both of the hub's layouts, the one in memory, and the authors'."""

TO_HUB = (*_composed.TO_HUB, Rule(r"(?:resolution|scenes\.\w+)\.newline", "image_newline"))

_HALF = (0.5, 0.5, 0.5)

_CLIP_LARGE: Spec = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
}

# The authors cut the last layer and the pooling head off.
_SIGLIP_SO400M: Spec = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
    "vision_use_head": False,
}

_NAMED_TOWERS: Mapping[str, tuple[Spec, int]] = {
    "openai/clip-vit-large-patch14-336": (_CLIP_LARGE, -2),
    "google/siglip-so400m-patch14-384": (_SIGLIP_SO400M, -1),
}
"""Architecture and the layer read by default, by the name in `mm_vision_tower`."""

_AUTHORS: Mapping[str, type[PretrainedConfig]] = {
    "LlavaLlamaForCausalLM": LlamaConfig,
    "LlavaMistralForCausalLM": MistralConfig,
    "LlavaQwenForCausalLM": Qwen2Config,
}
"""The language model's configuration, by the architecture in the authors' files."""


def is_authors(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of the authors' own."""
    return any(name in _AUTHORS for name in config.get("architectures") or ())


def tower_and_language(config: Mapping[str, Any], where: Path) -> tuple[Spec, Spec]:
    """Specifications of the vision tower (without normalisation) and the language model.

    Raises:
        CheckpointError: If there is no part for one of them.
    """
    if not is_authors(config):
        return _composed.tower(config, where), _composed.language(config, where)
    name = str(config.get("mm_vision_tower"))
    if name not in _NAMED_TOWERS:
        raise CheckpointError(where, f"mm_vision_tower is {name!r}", nearest(name, _NAMED_TOWERS))
    for field, value in {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "patch"}.items():
        if config.get(field, value) != value:
            raise CheckpointError(where, f"{field} is {config[field]!r}", f"only {value!r} is supported")
    arch, layer = _NAMED_TOWERS[name]
    if "siglip" not in arch["model_type"]:  # of SigLIP the authors' code reads the last layer left, always
        layer = int(config.get("mm_vision_select_layer", layer))
    kind = next(_AUTHORS[n] for n in config["architectures"] if n in _AUTHORS)
    return {"kind": "frame_vit", "arch": arch, "layer": layer}, _composed.flat_language(config, kind)


def pixels_of_stills(
    config: Mapping[str, Any], folder: Path, tower: Spec, default: Sequence[Sequence[int]]
) -> Pixels:
    """How a still becomes a whole view and tiles.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where its processor's files lie, if it has any.
        tower: Specification of the vision tower.
        default: Grids, where neither says any.

    Raises:
        CheckpointError: If configuration and processor differ, or tiles are not the tower's size.
    """
    side = _composed.side(tower)
    where, fields = settings(folder, video=False)
    resample = fields.get("resample", 3)
    if resample not in FILTERS or not fields.get("do_resize", True):
        raise CheckpointError(where, f"resample {resample!r} is not known", "known: 2 bilinear, 3 bicubic")
    for name in ("size", "crop_size"):
        given = fields.get(name)
        sides = set(given.values() if isinstance(given, dict) else [given]) - {None}
        if sides - {side}:
            raise CheckpointError(where, f"{name} is {given} for a tower of {side}", "they must be equal")
    ours, theirs = (_grids(source, side, where) for source in (config, fields))
    if ours and theirs and ours != theirs:
        raise CheckpointError(
            where, "`image_grid_pinpoints` differ from those of config.json", "fetch both files again"
        )
    mean, std = (
        (CLIP_MEAN, CLIP_STD) if tower["arch"]["model_type"] == "clip_vision_model" else (_HALF, _HALF)
    )
    spec = {"kind": "anyres", "grids": ours or theirs or default, "filter": FILTERS[resample]}
    return Pixels(spec, tuple(fields.get("image_mean", mean)), tuple(fields.get("image_std", std)))


def prompt(language: Mapping[str, Any], folder: Path) -> Prompt:
    """The checkpoint's own template where it has one, else the one its language model was trained with.

    Raises:
        CheckpointError: If no template is known for this language model.
    """
    llama_3 = int(language.get("vocab_size", 0)) >= _LLAMA_3_VOCABULARY
    if language["model_type"] == "qwen2":
        return prompt_of(folder, CHATML)
    if language["model_type"] == "llama" and llama_3:
        return prompt_of(folder, LLAMA_3)
    return prompt_of(folder, prompt_for(language, folder))


def to_hub(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; the newline that scenes share becomes one tensor again.

    Args:
        state: `state_dict()` of a VideoLM, adapters merged.
        family: For errors.

    Raises:
        CheckpointError: If a tensor has no place in that layout.
    """
    newlines = sorted(key for key in state if key.endswith(".newline"))
    kept = {key: tensor for key, tensor in state.items() if key not in newlines[1:]}
    return rewrite(kept, TO_HUB, family)


def _grids(source: Mapping[str, Any], side: int, where: Path) -> list[tuple[int, int]]:
    """(rows, columns) of tiles, of pinpoints in pixels as transformers lists them: (height, width).

    The authors list (width, height), or write a range of grids.
    """
    pinpoints = source.get("image_grid_pinpoints") or []
    if isinstance(pinpoints, str):
        pinpoints = _authors_range(pinpoints, side, where)
    elif is_authors(source):
        pinpoints = [(height, width) for width, height in pinpoints]
    if any(length < side or length % side for pinpoint in pinpoints for length in pinpoint):
        raise CheckpointError(
            where,
            f"image_grid_pinpoints {pinpoints} are not multiples of the tower's {side} pixels",
            "tiles of another size than the tower's cannot be joined; check both files' sizes",
        )
    return [(height // side, width // side) for height, width in pinpoints]


def _authors_range(text: str, side: int, where: Path) -> list[tuple[int, int]]:
    """Pinpoints in pixels of "(1x1),...,(6x6)"."""
    ends = [part.strip("() ").split("x") for part in text.split(",...,")]
    if len(ends) != 2 or not all(len(end) == 2 and all(n.isdecimal() for n in end) for end in ends):
        raise CheckpointError(
            where, f"image_grid_pinpoints is {text!r}", "known: a list, or a range such as (1x1),...,(6x6)"
        )
    (first_row, first_column), (rows, columns) = [[int(number) for number in end] for end in ends]
    if rows * columns > 144:
        raise CheckpointError(where, f"image_grid_pinpoints {text!r} goes too far", "known: up to 144 tiles")
    return [
        (row * side, column * side)
        for row in range(first_row, rows + 1)
        for column in range(first_column, columns + 1)
    ]
