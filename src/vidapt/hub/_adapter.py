"""Low-rank adapters in a folder of their own (peft's layout), on the checkpoint they were trained for.

Source: the layout `PeftModel.save_pretrained` writes: `adapter_config.json` and `adapter_model.safetensors`.
Each adapter's key is that of the layer it stands on, so the base family's key table translates it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub._files import read_json
from vidapt.hub._keys import check, rename
from vidapt.hub._open import families, open_checkpoint
from vidapt.hub._report import LoadReport
from vidapt.models.video_lm import VideoLM, add_adapters
from vidapt.recipe import LoRA

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_KEY = re.compile(r"(?:base_model\.model\.)?(?P<layer>.*)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform")


def base_of(folder: Path) -> str:
    """Name or path of the checkpoint an adapter's folder was trained for.

    Raises:
        CheckpointError: If the folder does not say.
    """
    base = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            folder / CONFIG, "has no `base_model_name_or_path`", "write the base checkpoint's folder there"
        )
    return base


def open_adapter(
    folder: Path, base: Path, dtype: torch.dtype | None = torch.float32
) -> tuple[VideoLM, Any, LoadReport]:
    """Open a checkpoint and put an adapter's folder on it.

    Args:
        folder: The adapter's.
        base: The checkpoint's.
        dtype: See `open_checkpoint`.

    Returns:
        The model with the adapters as part of its blueprint, its tokenizer, and the report of the base.

    Raises:
        CheckpointError: If either is damaged, or the adapters are for another base: each tensor that is
            missing, has no place or another shape is named.
    """
    lora = _settings(folder)
    model, tokenizer, report = open_checkpoint(base, dtype=dtype)
    found = _translated(folder, model, report.family)
    add_adapters(model.language, lora)
    model.blueprint = model.blueprint.model_copy(update={"adapters": lora})
    expected = {name: tuple(w.shape) for name, w in model.named_parameters() if ".lora_" in name}
    origin = {name: f"{old} in {WEIGHTS}" for name, (old, _) in found.items()}
    try:
        check(expected, {name: tuple(tensor.shape) for name, (_, tensor) in found.items()}, origin, folder)
    except CheckpointError as error:
        raise CheckpointError(
            folder, f"the adapters do not fit {base}\n{error.found}", "are they for another base?"
        ) from error
    with torch.no_grad():
        for name, (_, tensor) in found.items():
            model.get_parameter(name).copy_(tensor)
    return model.eval(), tokenizer, report


def _settings(folder: Path) -> LoRA:
    config = read_json(folder / CONFIG)
    asked = [key for key in _UNSUPPORTED if config.get(key)]
    if config.get("peft_type") != "LORA" or asked or config.get("bias", "none") != "none":
        raise CheckpointError(
            folder / CONFIG,
            f"describes {config.get('peft_type')!r} adapters with {', '.join(asked) or 'biases'}",
            "only plain low-rank adapters are supported; merge these with peft first",
        )
    try:
        return _lora(config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # pydantic's is a ValueError
        raise CheckpointError(
            folder / CONFIG, f"describes no adapters: {error!r}", "save the adapter again, with peft"
        ) from error


def _lora(config: Mapping[str, Any]) -> LoRA:
    targets, rank, alpha = config.get("target_modules"), int(config["r"]), float(config["lora_alpha"])
    names = [targets] if isinstance(targets, str) else list(targets or ())
    last = tuple(sorted({name.rpartition(".")[2] for name in names}))
    if config.get("use_rslora"):
        alpha *= math.sqrt(rank)
    return LoRA(rank=rank, alpha=alpha, dropout=float(config.get("lora_dropout", 0.0)), targets=last)


def _translated(folder: Path, model: VideoLM, family: str) -> Mapping[str, tuple[str, Tensor]]:
    """Our name of each adapter's weight, with the file's key and the tensor."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            folder / WEIGHTS, f"cannot be read: {error}", "safetensors alone are read: save the adapter again"
        ) from error
    matches = {key: _KEY.fullmatch(key) for key in tensors}
    strange = sorted(key for key, match in matches.items() if match is None)
    if strange:
        raise CheckpointError(
            folder / WEIGHTS, f"{strange[0]!r} is no adapter's weight", "save the adapter alone, with peft"
        )
    layers = {key: f"{match['layer']}.weight" for key, match in matches.items() if match is not None}
    names = rename(set(layers.values()), families()[family].RULES, folder, family).names
    found: dict[str, tuple[str, Tensor]] = {}
    for key, match in matches.items():
        assert match is not None
        layer = names.get(layers[key], layers[key]).removesuffix(".weight")
        found[f"{layer}.lora_{match['side']}.default.weight"] = (key, tensors[key])
    return found
