"""A model's low-rank adapters merged, or others in their place, without a change to what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.models.folder import untied
from vidapt.models.lora import AdaptedPart as AdaptedPart
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

_NAME = "default"
"""What peft calls the adapters of a model that has one set of them."""


def replace_adapters(model: VideoLM, lora: LoRA, part: AdaptedPart = "language") -> str:
    """Give a part that has adapters others, in place.

    Of equal rank on the same layers, they go on with the weights of the old ones, scaled for their own alpha.
    Otherwise the old ones are added to the layers they stand on, and the new ones begin anew.

    Args:
        model: Computes the same before and after.
        lora: The adapters it is to have.
        part: Which one.

    Returns:
        What was done, for people.

    Raises:
        ConfigError: If the part has no such layers.
    """
    old, module = model.adapters_of(part), getattr(model, part)
    assert old is not None
    taken = {name: (layer, *_weights(layer)) for name, layer in _adapted(module)}
    _take_off(module, {name: layer for name, (layer, _, _) in taken.items()})
    model.adapt(part, lora)
    new = dict(_adapted(module))
    if old.rank == lora.rank and taken.keys() == new.keys():
        for name, (_, a, b) in taken.items():
            _fill(*_weights(new[name]), a, b * (old.alpha / lora.alpha))
        return f"the model's go on, with alpha {lora.alpha:g} in place of {old.alpha:g}"
    with torch.no_grad():
        for layer, a, b in taken.values():
            weight = layer.get_base_layer().weight
            weight.copy_(added(weight, (old.alpha / old.rank) * (b.float() @ a.float())))
    return f"the model's, of rank {old.rank} on {len(taken)} layers, are merged; new ones begin"


@torch.no_grad()
def merged_state(model: VideoLM) -> dict[str, Tensor]:
    """The state dict with every low-rank adapter added to the layer it stands on; shared weights once."""
    state = untied(model)
    if model.blueprint.adapters is None and model.blueprint.tower_adapters is None:
        return state
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        for key in [key for key in state if key.startswith(f"{name}.")]:
            tail = key.removeprefix(f"{name}.")
            tensor = state.pop(key)
            if tail.startswith("base_layer."):
                state[f"{name}.{tail.removeprefix('base_layer.')}"] = tensor
        weight = state[f"{name}.weight"]
        change = sum(layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters)
        state[f"{name}.weight"] = added(weight, change)
    return state


def added(weight: Tensor, change: Tensor) -> Tensor:
    """A weight and a change to it, in the weight's number format.

    Args:
        weight: Of any shape.
        change: [out, in] float32, as many numbers.
    """
    # In float32, so that a small change is not lost before it is rounded once.
    return (weight.float() + change.reshape(weight.shape)).to(weight.dtype)


def _adapted(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers that carry adapters, by their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in part.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name, layer


def _weights(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """A [rank, in] and B [out, rank] of one layer."""
    return layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight


def _take_off(part: nn.Module, adapted: dict[str, Any]) -> None:
    for name, layer in adapted.items():
        parent, _, last = name.rpartition(".")
        setattr(part.get_submodule(parent), last, layer.get_base_layer())
    # peft keeps its settings there, and would take new adapters for a second set.
    for module in part.modules():
        vars(module).pop("peft_config", None)


@torch.no_grad()
def _fill(to_a: Tensor, to_b: Tensor, a: Tensor, b: Tensor) -> None:
    to_a.copy_(a)
    to_b.copy_(b)
