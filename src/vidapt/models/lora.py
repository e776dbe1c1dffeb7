"""Low-rank adapters put into a language model."""

from __future__ import annotations

from typing import Any

from torch import nn

from vidapt.errors import ConfigError
from vidapt.recipe import LoRA


def add_adapters(language: nn.Module, lora: LoRA) -> None:
    """Put low-rank adapters (Hu et al., 2021) into the language model's linear layers, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = _linear_names(language) if lora.targets == "all-linear" else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
    )
    try:
        inject_adapter_in_model(config, language)
    except ValueError as error:
        raise ConfigError(
            "adapters.targets", str(error), f"linear layers here: {_linear_names(language)}"
        ) from error


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
