"""Several runs on one base as servers take them: the base once, and each run's adapters in peft's layout.

vLLM is told of them by `--lora-modules NAME=FOLDER`, SGLang by `--lora-paths NAME=FOLDER`. Layers are called
as transformers calls the modules of its class, as peft itself would; both servers know these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText

from vidapt.errors import CheckpointError
from vidapt.files import write_folder, write_json
from vidapt.hub._adapter_file import CONFIG, WEIGHTS
from vidapt.hub._export import export_hf, published_as, refuse_existing
from vidapt.models.adapters import bake_scale, has_adapters, merged_state
from vidapt.models.lora import AdaptedPart
from vidapt.models.merging import adapted_layers
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

BASE = "base"
_WEIGHT = ".weight"
_PARTS: tuple[AdaptedPart, ...] = ("language", "towers")


def export_adapters(
    folder: Path, runs: Mapping[str, tuple[VideoLM, Any]], dtype: torch.dtype | None = None
) -> list[str]:
    """Write one base in its published layout, and beside it the adapters of each run.

    Args:
        folder: Must not exist.
        runs: Models with adapters and their tokenizers, by the name that each is to have. Their adapters are
            silenced.
        dtype: Store weights in this format; None keeps theirs.

    Returns:
        What whoever serves them has to know.

    Raises:
        CheckpointError: If the folder exists, a run has no adapters or differs from the first in something
            else, or transformers has no class for the base.
    """
    refuse_existing(folder)
    (first, (model, tokenizer)), *others = runs.items()
    pairs = {name: list(_pairs(name, one)) for name, (one, _) in runs.items()}
    names = _module_names(model)
    for one, _ in runs.values():
        bake_scale(one, 0.0)
    base = merged_state(model)
    for name, (other, _) in others:
        _refuse_other_base(first, base, name, merged_state(other))
    with write_folder(folder) as temporary:
        export_hf(temporary / BASE, model, tokenizer, dtype)
        for name, layers in pairs.items():
            (temporary / name).mkdir()
            _write(temporary / name, layers, names)
    return _remarks(runs, pairs)


_Layer = tuple[str, LoRA, Tensor, Tensor]


def _pairs(name: str, model: VideoLM) -> Iterator[_Layer]:
    """Each adapted layer by our name, with the adapters it belongs to, and its two matrices."""
    if not has_adapters(model):
        raise CheckpointError(
            name, "has no adapters", "name runs whose stages train `lora`; write others with `--to hf`"
        )
    for part in _PARTS:
        lora = model.adapters_of(part)
        if lora is None:
            continue
        for layer, module in adapted_layers(getattr(model, part)):
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            yield f"{part}.{layer}", lora, down.detach().clone(), up.detach().clone()


def _refuse_other_base(
    first: str, base: Mapping[str, Tensor], name: str, other: Mapping[str, Tensor]
) -> None:
    differs = [key for key, tensor in base.items() if key not in other or not torch.equal(tensor, other[key])]
    if differs or base.keys() != other.keys():
        raise CheckpointError(
            name,
            f"differs from {first} in more than adapters, such as {(differs or ['its tensors'])[0]}",
            "a server holds one base: write each with `--to hf`",
        )


def _module_names(model: VideoLM) -> dict[str, str]:
    """Our names of layers, and those of transformers' modules."""
    family, origin = published_as(model)
    config = origin.read("config.json")
    try:
        known = AutoConfig.for_model(**config)
        with torch.device("meta"):
            theirs = AutoModelForImageTextToText.from_config(known)
    except Exception as error:  # what a configuration that has no class raises is not documented
        raise CheckpointError(
            "export",
            f"transformers has no class for {origin.family!r}, and so no server has: {error}",
            "write the model with `--to merged`, and serve it with `vidapt serve`",
        ) from error
    linear = [name for name, module in theirs.named_modules() if isinstance(module, nn.Linear)]
    state = {name: torch.empty_like(tensor, device="meta") for name, tensor in merged_state(model).items()}
    ours = {id(tensor): name.removesuffix(_WEIGHT) for name, tensor in state.items()}
    published = {
        ours[id(tensor)]: _nearest(name.removesuffix(_WEIGHT), linear)
        for name, tensor in family.to_hub(state).items()
        if id(tensor) in ours and name.endswith(_WEIGHT)
    }
    return {name: module for name, module in published.items() if module is not None}


def _nearest(published: str, linear: Sequence[str]) -> str | None:
    """The module that a published name means: of those that end alike, the one with most words in common."""
    words = published.split(".")
    ends = [name for name in linear if name.split(".")[-3:] == words[-3:]]
    common = {name: len(set(words) & set(name.split("."))) for name in ends}
    best = [name for name in ends if common[name] == max(common.values())]
    return best[0] if len(best) == 1 else None


def _write(folder: Path, layers: Sequence[_Layer], names: Mapping[str, str]) -> None:
    """Write a run's adapters as peft does."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for ours, lora, down, up in layers:
        if ours not in names:
            raise CheckpointError(
                "export", f"transformers has no layer for {ours}", "write it with `--to hf`"
            )
        name = names[ours]
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.float().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.float().cpu().contiguous()
        ranks[name], alphas[name] = lora.rank, lora.alpha
    its = layers[0][1]
    odd = {name for name in ranks if (ranks[name], alphas[name]) != (its.rank, its.alpha)}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": f"../{BASE}",
        "bias": "none",
        "inference_mode": True,
        "r": its.rank,
        "lora_alpha": its.alpha,
        "lora_dropout": its.dropout,
        "target_modules": sorted(ranks),
        "rank_pattern": {name: ranks[name] for name in sorted(odd)},
        "alpha_pattern": {name: alphas[name] for name in sorted(odd)},
    }
    write_json(folder / CONFIG, config)
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})


def _remarks(runs: Mapping[str, Any], pairs: Mapping[str, Sequence[_Layer]]) -> list[str]:
    highest = max(lora.rank for layers in pairs.values() for _, lora, _, _ in layers)
    remarks = [f"servers ask for the highest rank: --max-lora-rank {highest}"]
    seeing = [
        name for name, layers in pairs.items() if any(ours.startswith("towers.") for ours, *_ in layers)
    ]
    if seeing:
        remarks.append(
            f"{', '.join(seeing)} adapts the vision tower, which vLLM leaves as it is unless it is told "
            "--enable-tower-connector-lora, and SGLang always: write it with `--to hf`, adapters merged"
        )
    return remarks
