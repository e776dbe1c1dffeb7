"""Tiny language models of Gated DeltaNet and attention layers, and what is compared of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.qwen3_5 import modeling_qwen3_5 as dense

SIZES: dict[str, Any] = {
    "head_dim": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "initializer_range": 0.2,
}
"""Three layers of the former, one of the latter."""

EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}

DENSE: dict[str, Any] = {"model_type": "qwen3_5_text", **SIZES}
MIXTURE: dict[str, Any] = {"model_type": "qwen3_5_moe_text", **SIZES, **EXPERTS}


def original_of(language: Any) -> Any:
    """The same weights in transformers' own class, with its own layers and attention."""
    twin = AutoModelForCausalLM.from_config(language.config, attn_implementation="sdpa")
    twin.load_state_dict(language.state_dict())
    return twin.to(language.dtype).train(language.training)


def difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """Of all gradients together, relative to the right ones."""
    assert left.keys() == right.keys()
    apart = sum(float((left[name] - right[name]).double().square().sum()) for name in right)
    whole = sum(float(right[name].double().square().sum()) for name in right)
    return (apart / whole) ** 0.5


def named_gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def exact_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None = None,
    **rest: Any,
) -> tuple[Tensor, Tensor]:
    """The gated delta rule as its equation stands, in the numbers' own format.

    S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - exp(g_t) S_{t-1}^T k_t)^T, and o_t = S_t^T q_t / sqrt(d).
    """
    del rest
    heads = value.shape[2] // key.shape[2]
    query, key = (x.repeat_interleave(heads, 2) for x in (query, key))
    query, key = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (query, key))
    memory = initial_state
    if memory is None:
        memory = value.new_zeros(len(value), value.shape[2], key.shape[-1], value.shape[-1])
    found = []
    for t in range(value.shape[1]):
        memory = memory * g[:, t].exp()[..., None, None]
        wrong = value[:, t] - torch.einsum("bhkv,bhk->bhv", memory, key[:, t])
        memory = memory + torch.einsum("bhk,bhv->bhkv", key[:, t], beta[:, t, :, None] * wrong)
        found.append(torch.einsum("bhkv,bhk->bhv", memory, query[:, t]) * query.shape[-1] ** -0.5)
    return torch.stack(found, 1), memory


class ExactNorm(dense.Qwen3_5RMSNorm):  # type: ignore[misc]
    """transformers normalises in float32 whatever the model is in, which would hide small differences."""

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self._norm(x)
        return normed * (1 + self.weight)


class ExactGatedNorm(dense.Qwen3_5RMSNormGated):  # type: ignore[misc]
    """The same of the norm behind the rule."""

    def forward(self, hidden_states: Tensor, gate: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden_states.square().mean(-1, keepdim=True) + self.variance_epsilon)
        normed: Tensor = self.weight * hidden_states * scale
        return normed * F.silu(gate)


def make_exact(language: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a dense model compute in float64 throughout, in place."""
    language.double()
    monkeypatch.setattr(dense, "torch_chunk_gated_delta_rule", exact_rule)
    monkeypatch.setattr(dense, "torch_recurrent_gated_delta_rule", exact_rule)
    norms = {dense.Qwen3_5RMSNorm: ExactNorm, dense.Qwen3_5RMSNormGated: ExactGatedNorm}
    for module in language.modules():
        module.__class__ = norms.get(type(module), type(module))
