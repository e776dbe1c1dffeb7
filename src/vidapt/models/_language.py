"""The language model of a VideoLM, built from its transformers configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM

from vidapt.errors import ConfigError
from vidapt.models.attention import SHARED_PREFIX

_LAYERS = {"full_attention", "sliding_attention"}


def language_model(spec: dict[str, Any]) -> Any:
    """Build a causal language model with random weights.

    Args:
        spec: A transformers configuration with its `model_type`.

    Raises:
        ConfigError: If there is no such model, or its attention cannot be replaced.
    """
    fields = dict(spec)
    kind = fields.pop("model_type", None)
    try:
        config = AutoConfig.for_model(kind, **fields)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=SHARED_PREFIX)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ConfigError(
            "blueprint.language",
            f"cannot build a causal language model of model_type {kind!r}: {error}",
            "give a transformers configuration, such as model_type: llama and its sizes",
        ) from error
    layers = set(getattr(config, "layer_types", None) or ())
    if not model._supports_attention_backend or layers - _LAYERS:
        raise ConfigError(
            "blueprint.language",
            f"{kind} does not let its attention be replaced, so questions would see one another",
            "use a transformers model with softmax attention in every layer, such as llama or qwen2",
        )
    return model
