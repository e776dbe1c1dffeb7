"""A model's low-rank adapters merged, or others in their place, without a change to what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.models.assign import assign, parameters_on_meta
from vidapt.models.folder import untied
from vidapt.models.lora import AdaptedPart as AdaptedPart
from vidapt.models.merging import Sequences, Trace, adapted_layers, can_be_asked
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
        CheckpointError: If the model computes something else than before, naming the layer.
    """
    trace = Trace.of(model, Sequences.of(model)) if can_be_asked(model) else None
    told = _replaced(model, lora, part)
    if trace is not None:
        trace.check(model)
    return told


def _replaced(model: VideoLM, lora: LoRA, part: AdaptedPart) -> str:
    old, module = model.adapters_of(part), getattr(model, part)
    assert old is not None
    taken = {name: (layer, *_weights(layer)) for name, layer in adapted_layers(module)}
    _take_off(module, {name: layer for name, (layer, _, _) in taken.items()})
    model.adapt(part, lora)
    new = dict(adapted_layers(module))
    if old.rank == lora.rank and taken.keys() == new.keys():
        for name, (_, a, b) in taken.items():
            _fill(*_weights(new[name]), a, b * (old.alpha / lora.alpha))
        return f"the model's go on, with alpha {lora.alpha:g} in place of {old.alpha:g}"
    with torch.no_grad():
        for layer, a, b in taken.values():
            weight = layer.get_base_layer().weight
            weight.copy_(added(weight, (old.alpha / old.rank) * (_wide(b) @ _wide(a))))
    return f"the model's, of rank {old.rank} on {len(taken)} layers, are merged; new ones begin"


def merged_model(model: VideoLM, tokenizer: Any) -> VideoLM:
    """A model whose adapters are part of its weights, which was seen to compute the same.

    Args:
        model: In evaluation mode. Without adapters it is what is returned.
        tokenizer: Its tokenizer.

    Raises:
        CheckpointError: If it computes something else, naming the layer.
    """
    if not has_adapters(model):
        return model
    trace = Trace.of(model, Sequences.of(model, tokenizer))
    with parameters_on_meta():
        plain = VideoLM(model.blueprint.model_copy(update={"adapters": None, "tower_adapters": None}))
    assign(plain, merged_state(model).items(), None, Path("merged adapters"))
    plain.tie_weights()
    plain.origin = model.origin
    plain.to(model.device).eval()
    trace.check(plain)
    return plain


def has_adapters(model: VideoLM) -> bool:
    """Whether a part has low-rank adapters."""
    return model.blueprint.adapters is not None or model.blueprint.tower_adapters is not None


def refuse_no_adapters(model: VideoLM, name: object) -> None:
    """See that there is something to scale.

    Raises:
        ConfigError: If a model has no adapters.
    """
    if not has_adapters(model):
        raise ConfigError(
            "--lora-scale",
            f"{name} has no adapters that could be scaled",
            "name a run whose stage trains `lora`, before it is merged",
        )


@contextmanager
def at_scale(model: VideoLM, scale: float) -> Iterator[None]:
    """Have adapters add `scale` times what they were trained to add, for a while; 0 is the bare model.

    PLLaVA's authors (Xu et al. 2024, arXiv 2404.16994) answer with a smaller alpha than they trained with, so
    that less of the language model is forgotten.
    """
    before = [(layer, layer.scaling[_NAME]) for _, layer in adapted_layers(model)]
    try:
        for layer, _ in before:
            layer.set_scale(_NAME, scale)
        yield
    finally:
        for layer, was in before:
            layer.scaling[_NAME] = was


@torch.no_grad()
def bake_scale(model: VideoLM, scale: float) -> None:
    """Make what adapters add `scale` times as large, in their weights."""
    for _, layer in adapted_layers(model):
        up = _weights(layer)[1]
        up.copy_(up.float() * scale)


@torch.no_grad()
def merged_state(model: VideoLM) -> dict[str, Tensor]:
    """The state dict with every low-rank adapter added to the layer it stands on; shared weights once."""
    state = untied(model)
    if not has_adapters(model):
        return state
    for name, layer in adapted_layers(model):
        for key in [key for key in state if key.startswith(f"{name}.")]:
            tail = key.removeprefix(f"{name}.")
            tensor = state.pop(key)
            if tail.startswith("base_layer."):
                state[f"{name}.{tail.removeprefix('base_layer.')}"] = tensor
        weight = state[f"{name}.weight"]
        change = sum((_wide(layer.get_delta_weight(one)) for one in layer.active_adapters), torch.zeros(()))
        state[f"{name}.weight"] = added(weight, change)
    return state


def added(weight: Tensor, change: Tensor) -> Tensor:
    """A weight and a change to it, in the weight's number format.

    Args:
        weight: Of any shape.
        change: [out, in] float32 or float64, as many numbers.
    """
    # In float32 at least, so that a small change is not lost before it is rounded once.
    return (_wide(weight) + change.reshape(weight.shape)).to(weight.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


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
