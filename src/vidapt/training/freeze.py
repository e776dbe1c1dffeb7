"""Which weights of a model learn in a stage, and which parts are in training mode."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.adapters import AdaptedPart, replace_adapters
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.libraries import load_quietly
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Last, Stage, Trained
from vidapt.training.layers import last_weights, norm_weights
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

_ADAPTED: tuple[AdaptedPart, ...] = ("towers", "language")


def parts_of(model: Model) -> dict[str, tuple[str, ...]]:
    """What a recipe calls a part, and the members of this model that belong to it."""
    return DUAL_PARTS if isinstance(model, DualEncoder) else PARTS


def members_of(model: Model, part: str) -> list[nn.Module | nn.Parameter]:
    """The members of a model that a recipe calls `part`, the largest first."""
    members = (getattr(model, name) for name in parts_of(model)[part])
    return [member for member in members if isinstance(member, nn.Module | nn.Parameter)]


def stacks_of(model: Model, part: str) -> list[nn.Module]:
    """What of a part may have layers in a row: each of two towers by itself."""
    first = next(iter(members_of(model, part)), None)
    if isinstance(first, nn.ModuleList):
        return list(first)
    return [first] if isinstance(first, nn.Module) else []


def unused_weights(model: Model) -> frozenset[int]:
    """Identities of weights that a part never uses, and no stage trains."""
    return frozenset(id(model.get_parameter(name)) for name in model.fixed)


def set_trainable(model: Model, trained: Trained) -> str:
    """Freeze and free parts as a stage asks; low-rank adapters are added where they are not yet.

    A model's own adapters go on where they are such as the stage asks for, and are merged where they are not
    (`replace_adapters`). A frozen part is also put in evaluation mode by `training_mode`.

    Returns:
        What became of adapters that the model had, if that has to be told.

    Raises:
        ConfigError: See `check_trainable`; or if the stage asks for adapters on layers that there are not.
    """
    check_trainable(model, trained)
    told = [_ensure_adapters(model, part, trained) for part in _ADAPTED if getattr(trained, part) == "lora"]
    unused = unused_weights(model)
    for part in parts_of(model):
        for member in members_of(model, part):
            member.requires_grad_(False)
        for weight in list(_learning_weights(model, part, getattr(trained, part), unused)):
            weight.requires_grad_(id(weight) not in unused)
    return "; ".join(filter(None, told))


def check_trainable(model: Model, trained: Trained) -> None:
    """See that a model has what a stage wants to learn; nothing of it is changed.

    Raises:
        ConfigError: If it has no such layers, or cannot have adapters, or nothing of it would learn.
    """
    names = list(parts_of(model))
    if all(getattr(trained, part) == "frozen" for part in names):
        raise ConfigError("train", "every part of this model is frozen", f"free one of {names}")
    if isinstance(model, DualEncoder) and trained.towers == "lora":
        raise ConfigError(
            "train.towers",
            "is lora, and a dual encoder has no adapters",
            "use `full`, `norms` or `{last: N}`",
        )
    unused = unused_weights(model)
    for part in names:
        how = getattr(trained, part)
        if (how == "norms" or isinstance(how, Last)) and not list(
            _learning_weights(model, part, how, unused)
        ):
            raise ConfigError(
                f"train.{part}", f"is {how}, and there are no such weights", "use `full` or `frozen`"
            )


def _learning_weights(
    model: Model, part: str, how: str | Last, unused: Collection[int]
) -> Iterator[nn.Parameter]:
    """Weights of a part that a stage's word for it frees."""
    members = members_of(model, part)
    if isinstance(how, Last):
        for stack in stacks_of(model, part):
            yield from last_weights(stack, how.last, unused, f"train.{part}")
        members = members[1:]  # stands behind the first
    elif how != "full":
        modules = [member for member in members if isinstance(member, nn.Module)]
        found = {"frozen": _none, "lora": adapter_weights, "norms": norm_weights}[how]
        for module in modules:
            yield from found(module)
        return
    for member in members:
        yield from member.parameters() if isinstance(member, nn.Module) else [member]


def _none(module: nn.Module) -> Iterator[nn.Parameter]:
    del module
    yield from ()


def _ensure_adapters(model: Model, part: AdaptedPart, trained: Trained) -> str:
    assert isinstance(model, VideoLM)
    field = {"language": "lora", "towers": "towers_lora"}[part]
    asked, present = getattr(trained, field), model.adapters_of(part)
    if present is None:
        model.adapt(part, asked)
        return ""
    if field not in trained.model_fields_set or asked == present:
        return ""
    return replace_adapters(model, asked, part)


def adapter_weights(module: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of the low-rank adapters inside a module."""
    load_quietly("peft")
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in module.modules():
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
    for part in parts_of(model):
        learns = getattr(trained, part) != "frozen"
        modules = [member for member in members_of(model, part) if isinstance(member, nn.Module)]
        for module in modules:
            module.train(learns)
        # What stands in front of a frozen language model learns through it.
        through += modules if learns or part == "language" else []
    keep_states(through, again=recompute)


def towards_loss(model: Model, weights: Mapping[str, nn.Parameter]) -> list[tuple[str, nn.Parameter]]:
    """Weights in the order in which a clip meets them: by parts, and the objective's own last."""
    members = [name for names in parts_of(model).values() for name in names]
    place = {name: index for index, name in enumerate(members)}
    return sorted(weights.items(), key=lambda one: place.get(one[0].partition(".")[0], len(place)))


def trainable(model: Model, objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that learn; an objective's own come under `objective.`."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name, weight
    for name, weight in objective.named_parameters():
        yield f"objective.{name}", weight
