"""The language model of a VideoLM, built from its transformers configuration."""

from __future__ import annotations

import copy
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLPreTrainedModel, Qwen2VLTextModel

from vidapt.errors import ConfigError
from vidapt.models.attention import SHARED_PREFIX

_LAYERS = {"full_attention", "sliding_attention"}


class Qwen2VLLanguage(Qwen2VLPreTrainedModel):  # type: ignore[misc]
    """Qwen2-VL's text model with its output embedding, which transformers offers only with the tower.

    Args:
        config: Sizes. Positions may have three axes: [3, N, L].
    """

    config_class = Qwen2VLTextConfig
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: Qwen2VLTextConfig) -> None:
        super().__init__(config)
        self.model = Qwen2VLTextModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, *arguments: Any, **named: Any) -> Tensor:
        """Logits [N, L, vocabulary] of what `Qwen2VLTextModel` makes of the arguments."""
        logits: Tensor = self.lm_head(self.model(*arguments, **named).last_hidden_state)
        return logits


_WITHOUT_AUTO: dict[str, Any] = {"qwen2_vl_text": Qwen2VLLanguage}
"""Causal language models that transformers does not build by itself, by exact model type."""


def language_model(spec: dict[str, Any]) -> Any:
    """Build a causal language model with random weights.

    Args:
        spec: A transformers configuration with its `model_type`.

    Raises:
        ConfigError: If there is no such model, or its attention cannot be replaced.
    """
    fields = copy.deepcopy(spec)  # configurations write into what they are given
    kind = fields.pop("model_type", None)
    try:
        config = AutoConfig.for_model(kind, **fields)
        model = _from_config(config)
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


def _from_config(config: Any) -> Any:
    own = _WITHOUT_AUTO.get(config.model_type)
    if own is None:
        return AutoModelForCausalLM.from_config(config, attn_implementation=SHARED_PREFIX)
    return own._from_config(config, attn_implementation=SHARED_PREFIX)
