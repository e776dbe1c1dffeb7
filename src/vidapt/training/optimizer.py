"""Which weights learn, how fast, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.adapters import replace_adapters
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.lora import add_adapters
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Optimizer, Stage, Trained
from vidapt.training.portions import keep_states

Model: TypeAlias = VideoLM | DualEncoder
"""What a stage can train."""

PARTS: dict[str, tuple[str, ...]] = {
    "towers": ("towers",),
    # What a resolution learns (a newline) speaks the language model's language, as the connector does.
    "connector": ("connector", "resolution", "scenes"),
    "language": ("language",),
}
"""What a recipe calls a part, and the members of a video-language model that belong to it."""

DUAL_PARTS: dict[str, tuple[str, ...]] = {
    "towers": ("tower",),
    "text": ("text",),
    "projections": ("visual_projection", "text_projection", "logit_scale"),
}
"""The same for a dual encoder."""


def parts_of(model: Model) -> dict[str, tuple[str, ...]]:
    """What a recipe calls a part, and the members of this model that belong to it."""
    return DUAL_PARTS if isinstance(model, DualEncoder) else PARTS


def _members(model: Model) -> Iterator[tuple[str, nn.Module | nn.Parameter]]:
    for part, members in parts_of(model).items():
        for name in members:
            member = getattr(model, name)
            if isinstance(member, nn.Module | nn.Parameter):
                yield part, member


def set_trainable(model: Model, trained: Trained) -> str:
    """Freeze and free parts as a stage asks; low-rank adapters are added where they are not yet.

    A model's own adapters go on where they are such as the stage asks for, and are merged where they are not
    (`replace_adapters`). A frozen part is also put in evaluation mode by `training_mode`.

    Returns:
        What became of adapters that the model had, if that has to be told.

    Raises:
        ConfigError: If the stage asks for adapters on layers that there are not, or nothing would learn.
    """
    adapted = model if isinstance(model, VideoLM) and trained.language == "lora" else None
    told = _ensure_adapters(adapted, trained) if adapted is not None else ""
    if {getattr(trained, part) for part in parts_of(model)} == {"frozen"}:
        raise ConfigError(
            "train", "every part of this model is frozen", f"free one of {list(parts_of(model))}"
        )
    for part, member in _members(model):
        member.requires_grad_(getattr(trained, part) == "full")
    for name in model.fixed:
        model.get_parameter(name).requires_grad_(False)
    if adapted is not None:
        for weight in adapter_weights(adapted.language):
            weight.requires_grad_(True)
    return told


def _ensure_adapters(model: VideoLM, trained: Trained) -> str:
    present = model.blueprint.adapters
    if present is None:
        model.blueprint = model.blueprint.model_copy(update={"adapters": trained.lora})
        add_adapters(model.language, trained.lora)
        return ""
    if "lora" not in trained.model_fields_set or trained.lora == present:
        return ""
    return replace_adapters(model, trained.lora)


def adapter_weights(language: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of the low-rank adapters inside a language model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in language.modules():
        if isinstance(layer, BaseTunerLayer):
            for name in layer.adapter_layer_names:
                yield from getattr(layer, name).parameters()


def learning(parts: Mapping[str, tuple[str, ...]], stage: Stage) -> list[str]:
    """Names of a stage's rates: of the parts that are not frozen."""
    return [part for part in parts if getattr(stage.train, part) != "frozen"]


def training_mode(model: Model, trained: Trained, *, recompute: bool = False) -> None:
    """Dropout and the like only in parts that learn.

    Args:
        model: A model.
        trained: What learns.
        recompute: Whether layers that a gradient goes through compute their states again.

    Raises:
        ConfigError: If none of them can.
    """
    through: list[nn.Module] = []
    for part, member in _members(model):
        if isinstance(member, nn.Module):
            learns = getattr(trained, part) != "frozen"
            member.train(learns)
            # What stands in front of a frozen language model learns through it.
            if learns or part == "language":
                through.append(member)
    keep_states(through, again=recompute)


def trainable(model: Model, objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that learn; an objective's own come under `objective.`."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name, weight
    for name, weight in objective.named_parameters():
        yield f"objective.{name}", weight


def make_optimizer(model: Model, objective: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) with a rate per part; vectors and scalars do not decay."""
    part_of = {member: part for part, members in parts_of(model).items() for member in members}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, weight in trainable(model, objective):
        member = name.partition(".")[0]
        groups.setdefault((part_of.get(member, member), weight.ndim > 1), []).append(weight)
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
    return torch.optim.AdamW(described, betas=settings.betas, eps=settings.eps, fused=False)


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
