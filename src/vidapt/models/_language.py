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
from vidapt.models._language_check import CLOSED, problem
from vidapt.models.attention import SHARED_PREFIX
from vidapt.parts import refuse_endless

_FAILURES = (
    StrictDataclassError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What transformers' classes raise over a configuration that they or their attention cannot do with."""


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
        ConfigError: If there is no such model, or questions behind a shared prefix would not be apart in it.
    """
    if "weights" in spec:  # transformers would take any key without a word
        raise ConfigError(
            "blueprint.language.weights",
            "is for recipes; a model's own blueprint has every part written out",
            "train the recipe, or compose the model with vidapt.loading.compose",
        )
    fields = copy.deepcopy(spec)  # configurations write into what they are given
    kind = fields.pop("model_type", None)
    refuse_endless(fields, "blueprint.language")
    try:
        model = _from_config(AutoConfig.for_model(kind, **fields))
    except _FAILURES as error:
        if error.args == (SHARED_PREFIX,):  # a table of attention classes of its own
            raise _unusable(kind, CLOSED) from error
        raise ConfigError(
            "blueprint.language",
            f"cannot build a causal language model of model_type {kind!r}: {type(error).__name__}: {error}",
            "give a transformers configuration, such as model_type: llama and its sizes",
        ) from error
    try:
        found = problem(model)
    except _FAILURES as error:
        raise _unusable(kind, f"a trial run failed: {type(error).__name__}: {error}") from error
    if found is not None:
        raise _unusable(kind, found)
    return model


def _unusable(kind: Any, reason: str) -> ConfigError:
    return ConfigError(
        "blueprint.language",
        f"a language model of model_type {kind!r} cannot be used: {reason}",
        "use a transformers model with plain causal attention in every layer, such as llama or qwen2",
    )


def _from_config(config: Any) -> Any:
    own = _WITHOUT_AUTO.get(config.model_type)
    if own is None:
        return AutoModelForCausalLM.from_config(config, attn_implementation=SHARED_PREFIX)
    return own._from_config(config, attn_implementation=SHARED_PREFIX)
