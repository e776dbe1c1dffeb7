"""The language model of a VideoLM, built from its transformers configuration."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModelForCausalLM

from vidapt.errors import ConfigError, nearest
from vidapt.models._language_check import CLOSED, problem
from vidapt.models.attention import SHARED_PREFIX
from vidapt.models.delta_net import continue_from_states
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


_TEXT_ALONE = frozenset(
    {"qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text"},
)
"""Exact model types of which transformers offers an output embedding only together with the tower."""


@cache
def _with_head(text: Any) -> Any:
    """The class of causal language models around a class of text models.

    Their positions may have three axes: [3, N, L].
    """

    class Headed(text.__base__):  # type: ignore[misc]
        config_class = text.config_class
        _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = text(config)
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            self.post_init()

        @classmethod
        def _can_set_experts_implementation(cls) -> bool:
            """Transformers answers by the source file that a class stands in, which here is this one."""
            return bool(text._can_set_experts_implementation())

        def forward(self, *arguments: Any, **named: Any) -> Tensor:
            """Logits [N, L, vocabulary] of what the text model makes of the arguments."""
            logits: Tensor = self.lm_head(self.model(*arguments, **named).last_hidden_state)
            return logits

    return Headed


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
    if kind is not None and kind not in CONFIG_MAPPING:
        what = f"transformers has no language model of model_type {kind!r}"
        raise ConfigError("blueprint.language", what, nearest(str(kind), CONFIG_MAPPING))
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
        "use a transformers model of plain causal attention or Gated DeltaNet layers, such as llama, qwen3 "
        "or qwen3_5_text",
    )


def _from_config(config: Any) -> Any:
    if config.model_type in _TEXT_ALONE:
        model = _with_head(MODEL_MAPPING[type(config)])._from_config(
            config, attn_implementation=SHARED_PREFIX
        )
    else:
        model = AutoModelForCausalLM.from_config(config, attn_implementation=SHARED_PREFIX)
    continue_from_states(model)
    return model


def extend(model: Any, pieces: Sequence[tuple[int, int]]) -> None:
    """Give a language model a row behind its last for each pair of rows, which is their mean; in order."""
    rows = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(rows + len(pieces), mean_resizing=False)
    tables = {id(table): table for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for table in tables.values():
            for row, (left, right) in enumerate(pieces, start=rows):
                table.weight[row] = (table.weight[left] + table.weight[right]) / 2
