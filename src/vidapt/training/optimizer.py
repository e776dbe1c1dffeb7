"""Which weights learn, how fast, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.video_lm import VideoLM, add_adapters
from vidapt.recipe import Optimizer, Trained

PARTS: dict[str, tuple[str, ...]] = {
    "towers": ("towers",),
    # What a resolution learns (a newline) speaks the language model's language, as the connector does.
    "connector": ("connector", "resolution", "scenes"),
    "language": ("language",),
}
"""What a recipe calls a part, and the members of a model that belong to it."""

_PART_OF = {member: part for part, members in PARTS.items() for member in members}


def _modules(model: VideoLM) -> Iterator[tuple[str, nn.Module]]:
    for part, members in PARTS.items():
        for member in members:
            module = getattr(model, member)
            if isinstance(module, nn.Module):
                yield part, module


def set_trainable(model: VideoLM, trained: Trained) -> None:
    """Freeze and free parts as a stage asks; low-rank adapters are added where they are not yet.

    A frozen part is also put in evaluation mode by `training_mode`.

    Raises:
        ConfigError: If the model has adapters and the stage asks for different ones.
    """
    if trained.language == "lora":
        _ensure_adapters(model, trained)
    for part, module in _modules(model):
        module.requires_grad_(getattr(trained, part) == "full")
    for name in model.fixed:
        model.get_parameter(name).requires_grad_(False)
    if trained.language == "lora":
        for weight in adapter_weights(model.language):
            weight.requires_grad_(True)


def _ensure_adapters(model: VideoLM, trained: Trained) -> None:
    present = model.blueprint.adapters
    if present is None:
        model.blueprint = model.blueprint.model_copy(update={"adapters": trained.lora})
        add_adapters(model.language, trained.lora)
    elif "lora" in trained.model_fields_set and trained.lora != present:
        raise ConfigError(
            "train.lora",
            f"the model already has other adapters: {present.model_dump()}",
            "leave `lora` out to go on with them, or start from a model without adapters",
        )


def adapter_weights(language: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of the low-rank adapters inside a language model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in language.modules():
        if isinstance(layer, BaseTunerLayer):
            for name in layer.adapter_layer_names:
                yield from getattr(layer, name).parameters()


def training_mode(model: VideoLM, trained: Trained) -> None:
    """Dropout and the like only in parts that learn."""
    for part, module in _modules(model):
        module.train(getattr(trained, part) != "frozen")


def trainable(model: VideoLM, objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that learn; an objective's own come under `objective.`."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name, weight
    for name, weight in objective.named_parameters():
        yield f"objective.{name}", weight


def make_optimizer(model: VideoLM, objective: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) with a rate per part; vectors and scalars do not decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, weight in trainable(model, objective):
        member = name.partition(".")[0]
        groups.setdefault((_PART_OF.get(member, member), weight.ndim > 1), []).append(weight)
    described: list[dict[str, Any]] = [
        {
            "params": weights,
            "lr": getattr(settings.rates, part),
            "peak": getattr(settings.rates, part),
            "part": part,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (part, decays), weights in groups.items()
    ]
    return torch.optim.AdamW(described, betas=settings.betas, fused=False)


def set_rates(optimizer: torch.optim.Optimizer, settings: Optimizer, step: int, total: int) -> None:
    """Give every group its rate for a step counted from 0."""
    factor = rate_factor(settings, step, total)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def rate_factor(settings: Optimizer, step: int, total: int) -> float:
    """Share of the peak rate at a step: linear warm-up, then the decay to `floor`."""
    warm = settings.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    progress = (step - warm) / max(1.0, total - warm)
    shapes: dict[Literal["cosine", "linear", "constant"], float] = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return settings.floor + (1 - settings.floor) * shapes[settings.decay]
