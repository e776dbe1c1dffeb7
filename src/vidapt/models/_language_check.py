"""Whether a language model can be trained behind a shared prefix, found out before work begins.

What a class of transformers says of itself is not enough: some say that their attention can be replaced
and do not hand on who sees whom, so that every token would see every other. A copy of the module is therefore
run once, in its own depth and sizes but without values: all tensors lie on torch's meta device, so the
largest model takes a fraction of a second and no memory. A small model with values was the alternative; it
would need to know the size fields of every configuration. Where every layer attends by a layout and by
nothing else, a later token or a foreign question cannot change anything, whatever the values are. A layer
with state does the same if it forks the state: each question then begins with what its prefix left behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidapt.models.attention import PrefixLayout, unlike
from vidapt.models.delta_net import layers_with_state

CLOSED = "it does not let its attention be replaced, so questions would see one another"
"""What is told of a class that computes attention in its own way."""

_SOFTMAX = frozenset({"full_attention", "sliding_attention"})
_STATE = "linear_attention"
"""Kinds of layers, as configurations call them, that can go on from a shared prefix."""

_PREFIX, _SUFFIX = 2, 4


def problem(model: Any) -> str | None:
    """Why questions behind a shared prefix would not be apart in a language model, as a sentence.

    Args:
        model: A causal language model of transformers whose attention is `SHARED_PREFIX`. Its weights may
            lie anywhere and are not touched.

    Returns:
        None if nothing is wrong.

    Raises:
        Exception: Whatever the model raises when it is run.
    """
    config = model.config.get_text_config()
    kinds = list(getattr(config, "layer_types", None) or ())
    forking = layers_with_state(model)
    if (reason := _foreign(kinds, forking)) is not None:
        return reason
    if not model._supports_attention_backend and not forking:
        return CLOSED
    witness = trial_run(model)
    if witness.reasons:
        return witness.reasons[0]
    told = len(witness.windows) + len(witness.forks)
    if told < config.num_hidden_layers:
        return (
            f"{told} of its {config.num_hidden_layers} layers are told who sees whom, "
            "so questions would see one another"
        )
    window = window_of(config)
    if window is not None and not any(witness.windows):
        return f"its attention is not told of its sliding_window of {window} tokens, which may be null"
    return None


def _foreign(kinds: Sequence[str], forking: Collection[int]) -> str | None:
    """Layers that can neither attend by a layout nor fork a state, as a sentence."""
    for number, kind in enumerate(kinds):
        if kind not in _SOFTMAX and number not in forking:
            like = "of this make " if kind == _STATE else ""
            return (
                f"its layer {number} is of kind {kind!r}; layers {like}keep a state that cannot be forked "
                "behind a shared prefix, so questions would read on from one another"
            )
    return None


@dataclass(frozen=True)
class _Witness(PrefixLayout):
    """A layout that keeps what the layers ask of it.

    Attributes:
        mask: The mask that the model was given; a layer that has another one adds something of its own.
        windows: Sliding window of every call, None without one.
        forks: Layers that fork a state.
        reasons: Why a call cannot be answered.
    """

    mask: Tensor | None = None
    windows: list[int | None] = field(default_factory=list)
    forks: list[Any] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float | None,
        dropout: float,
        **asked: Any,
    ) -> Tensor:
        """Keep what is asked, and answer as if nothing special were."""
        self.windows.append(asked.get("sliding_window"))
        if (reason := unlike(asked)) is not None:
            self.reasons.append(reason)
        if attention_mask is not None and attention_mask is not self.mask:
            self.reasons.append("its attention adds a mask of its own")
        if False in (getattr(module, "is_causal", True), asked.get("is_causal", True)):
            self.reasons.append(
                "its attention sees later tokens; some models become causal by is_decoder: true"
            )
        return super().attend(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout)

    def fork(self, module: Any, hidden: Tensor) -> Tensor:
        """Keep that it was asked for; lengths of questions cannot be known of a layout without values."""
        self.forks.append(module)
        return torch.empty_like(hidden)


class _NoBranches(TorchFunctionMode):
    """Decisions over values that are not there are taken as false: rotary embeddings that grow, for one."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        if func is Tensor.__bool__ and args[0].is_meta:
            return False
        return func(*args, **(kwargs or {}))


def trial_run(model: Any, **named: Any) -> _Witness:
    """Run a language model once on nothing.

    Args:
        model: A causal language model of transformers; it is left as it is.
        named: Further keywords for it.
    """
    base = model.base_model
    # A copy, since some modules keep what they work out; its tensors are replaced while it is being made.
    twin = copy.deepcopy(base, {id(x): _empty(x) for x in (*base.parameters(), *base.buffers())})
    length = _PREFIX + _SUFFIX
    with torch.no_grad(), torch.device("meta"), _NoBranches():
        mask = torch.empty(1, 1, length, length, dtype=torch.bool)
        witness = _Witness(
            torch.empty(1, _PREFIX, dtype=torch.bool), torch.empty(1, _SUFFIX, dtype=torch.long), mask=mask
        )
        twin(
            inputs_embeds=torch.empty(
                1, length, model.get_input_embeddings().embedding_dim, dtype=torch.bfloat16
            ),
            position_ids=torch.arange(length)[None],
            attention_mask=mask,
            use_cache=False,
            layout=witness,
            **named,
        )
    return witness


def _empty(tensor: Tensor) -> Tensor:
    """The same shape without values; in bfloat16, which mixtures of experts need on the meta device."""
    dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
    return torch.empty_like(tensor, dtype=dtype, device="meta")


def window_of(config: Any) -> int | None:
    """The sliding window that a configuration puts to use; a field that its class does not know is none."""
    kinds = getattr(config, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return None
    known = "sliding_window" in {own.name for own in fields(config)}
    window = config.sliding_window if known else None
    assert window is None or isinstance(window, int)
    return window
