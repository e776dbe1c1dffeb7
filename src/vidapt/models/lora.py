"""Low-rank adapters put into a language model, or into towers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal, TypeAlias

from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.libraries import load_quietly
from vidapt.recipe import LoRA

AdaptedPart: TypeAlias = Literal["towers", "language"]
"""A part that can have adapters."""


def add_adapters(language: nn.Module, lora: LoRA) -> None:
    """Put low-rank adapters (Hu et al., 2021) into the language model's linear layers, in place."""
    load_quietly("peft")
    from peft import inject_adapter_in_model

    targets = _linear_names(language) if lora.targets == "all-linear" else list(lora.targets)
    try:
        inject_adapter_in_model(_config(lora, targets), language)
    except ValueError as error:
        raise ConfigError(
            "adapters.targets", str(error), f"linear layers here: {_linear_names(language)}"
        ) from error


def add_tower_adapters(towers: nn.ModuleList, lora: LoRA, unused: Collection[int]) -> None:
    """Put low-rank adapters into the linear layers of towers, in place.

    Args:
        towers: One or two.
        lora: The adapters; every target is a layer's last name.
        unused: Identities of weights that a tower never uses; their layers get none.

    Raises:
        ConfigError: If no layer has such a name.
    """
    load_quietly("peft")
    from peft import inject_adapter_in_model

    asked = None if lora.targets == "all-linear" else set(lora.targets)
    there = [dict(_adaptable(tower, unused)) for tower in towers]
    chosen = [[name for name, last in names.items() if asked is None or last in asked] for names in there]
    lacking = (asked or set()) - {last for names in there for last in names.values()}
    if lacking or not any(chosen):
        known = sorted({last for names in there for last in names.values()})
        raise ConfigError(
            "tower_adapters.targets",
            f"no layer of the towers is called {', '.join(sorted(lacking))}" if lacking else "has no layers",
            f"linear layers here: {known}",
        )
    for tower, names in zip(towers, chosen, strict=True):
        if names:
            # An expression: a name is to peft also the end of longer ones.
            inject_adapter_in_model(_config(lora, "|".join(map(re.escape, names))), tower)


def _adaptable(tower: nn.Module, unused: Collection[int]) -> Iterator[tuple[str, str]]:
    """Names of a tower's linear layers that can be adapted, whole and their last words."""
    # Attention of torch's own reads the weights of its output layer, and never calls it.
    taken = {
        id(inner)
        for module in tower.modules()
        if isinstance(module, nn.MultiheadAttention)
        for inner in module.modules()
    }
    for name, module in tower.named_modules():
        if isinstance(module, nn.Linear) and id(module) not in taken and id(module.weight) not in unused:
            yield name, name.rpartition(".")[2]


def _config(lora: LoRA, targets: list[str] | str) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)


def _linear_names(language: Any) -> list[str]:
    """Last names of the linear layers, without the output embedding."""
    head = language.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, m in language.named_modules()
            if isinstance(m, nn.Linear) and m is not head
        }
    )
