"""Gated DeltaNet layers that go on from a state, forked behind a shared prefix or kept per row while writing.

Sources: Yang et al. 2024, "Gated Delta Networks", arXiv 2412.06464; transformers' Qwen3.5 layers, whose
weights and whose rule these layers use. `flash-linear-attention` and `causal-conv1d` compute it where they
are installed. Behind a prefix every question begins with what the prefix left behind, under grad, so that the
prefix's gradient is the sum of its questions', as it is where each has a copy of the prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.accelerate import force_accelerate_hooks
from transformers.models.qwen3_5 import modeling_qwen3_5 as dense
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as mixture

from vidapt.models.attention import PrefixLayout
from vidapt.models.token_rows import TokenRows, as_they_are, without_gaps

_CHUNK, _SHORTEST_CHUNK = 64, 16
"""Tokens that the rule takes at once; a row of fewer is padded up to them."""


@dataclass(frozen=True)
class DeltaState:
    """What a layer has read, of B rows.

    Attributes:
        history: [B, C, k - 1]: the last inputs of the convolution, whose kernel has k taps.
        memory: [B, heads, d_key, d_value] float32: the matrix that the delta rule writes.
    """

    history: Tensor
    memory: Tensor

    def of(self, rows: Tensor) -> DeltaState:
        """The states of some rows, or of one several times."""
        rows = rows.to(self.history.device)
        return DeltaState(self.history[rows], self.memory[rows])

    def with_rows(self, others: DeltaState) -> DeltaState:
        """These states, and others behind them."""
        return DeltaState(torch.cat([self.history, others.history]), torch.cat([self.memory, others.memory]))


class DeltaLayer(CacheLayerMixin):  # type: ignore[misc]
    """The state of one layer in a cache of transformers; nothing is written in place.

    Attributes:
        state: What was read; None before anything was.
        columns: How many columns of the batch that was, padding among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state: DeltaState | None = None
        self.columns = 0

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep (or repeat) rows by index."""
        if self.state is not None:
            self.state = self.state.of(indices)

    def regroup(self, kept: Tensor, others: DeltaLayer | None, columns: int) -> None:
        """Keep some rows, and put others behind them; a state has no columns, they are only counted."""
        assert self.state is not None
        self.state = self.state.of(kept)
        if others is not None:
            assert others.state is not None
            self.state = self.state.with_rows(others.state)
        self.columns = columns

    def get_seq_length(self) -> int:
        """Columns read."""
        return self.columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that an attention layer beside this one looks at, and the first of them."""
        return self.columns + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """There are no keys and values here."""
        raise NotImplementedError

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """There are no keys and values here."""
        raise NotImplementedError


class _Continuing(nn.Module):
    """The forward pass of a Gated DeltaNet layer, beside whose class it stands first."""

    layer_idx: int
    num_v_heads: int
    key_dim: int
    value_dim: int
    head_k_dim: int
    head_v_dim: int
    conv_kernel_size: int
    activation: str
    conv1d: nn.Conv1d
    dt_bias: Tensor
    A_log: Tensor
    in_proj_qkv: Any  # linear layers, with or without adapters, in any number format
    in_proj_z: Any
    in_proj_a: Any
    in_proj_b: Any
    out_proj: Any
    norm: Any

    @force_accelerate_hooks("conv1d")  # type: ignore[untyped-decorator]
    def forward(
        self,
        hidden_states: Tensor,
        cache_params: Any = None,
        attention_mask: Tensor | None = None,
        layout: PrefixLayout | None = None,
        **rest: Any,
    ) -> Tensor:
        """Read [B, L, D] behind what the cache holds, or under a layout.

        Args:
            hidden_states: [B, L, D].
            cache_params: A cache whose layer here is a `DeltaLayer`; with any other, transformers' own
                forward pass takes place.
            attention_mask: [B, L], true where a token is real; None if all are.
            layout: Which tokens are prefixes, and which questions stand behind them.
            rest: What layers of other kinds are told.
        """
        if layout is not None:
            return layout.fork(self, hidden_states)
        kept = None if cache_params is None else cache_params.layers[self.layer_idx]
        if kept is not None and not isinstance(kept, DeltaLayer):
            own: Tensor = super().forward(hidden_states, cache_params, attention_mask, **rest)
            return own
        b, length = hidden_states.shape[:2]
        if attention_mask is None:
            rows = as_they_are(hidden_states.new_ones(b, length, dtype=torch.bool))
        else:
            rows = without_gaps(attention_mask.bool())
        inputs = self._inputs(hidden_states)
        read, state = self._read(inputs, rows, None if kept is None else kept.state)
        if kept is not None:
            kept.state, kept.columns = state, kept.columns + length
        return self._output(hidden_states, rows.put(read))

    def forked(self, hidden: Tensor, layout: PrefixLayout) -> Tensor:
        """[N, P + S, D] to the same shape: prefixes from nothing, each question from behind its prefix."""
        p = layout.prefix
        inputs = self._inputs(hidden)
        read = []
        state: DeltaState | None = None
        if p:
            prefixes = as_they_are(layout.valid)
            first, state = self._read([x[:, :p] for x in inputs], prefixes, None)
            read.append(prefixes.put(first))
        questions = layout.questions
        if len(questions.real):
            begun = None if state is None else state.of(questions.origin)
            second, _ = self._read([x[:, p:] for x in inputs], questions, begun)
            read.append(questions.put(second))
        else:  # nothing but padding
            read.append(
                inputs[0].new_zeros(len(hidden), hidden.shape[1] - p, self.num_v_heads, self.head_v_dim)
            )
        return self._output(hidden, torch.cat(read, dim=1))

    def _inputs(self, hidden: Tensor) -> list[Tensor]:
        """Of each token: [B, L, C] for the convolution, [B, L, heads] decay (as a logarithm) and beta."""
        step = self.in_proj_a(hidden)
        wide = torch.promote_types(step.dtype, torch.float32)  # in float16, A might be infinite
        decay = -self.A_log.to(wide).exp() * F.softplus(step.to(wide) + self.dt_bias)
        return [self.in_proj_qkv(hidden), decay, self.in_proj_b(hidden).sigmoid()]

    def _read(
        self, inputs: list[Tensor], rows: TokenRows, state: DeltaState | None
    ) -> tuple[Tensor, DeltaState]:
        """[M, K, heads, d_value] that M rows read, and what they leave behind."""
        # Padding decays nothing and writes nothing: both are zero there.
        mixed, decay, beta = map(rows.take, inputs)
        m, length = mixed.shape[:2]
        mixed, history = self._convolve(mixed, rows, None if state is None else state.history)
        query, key, value = torch.split(mixed, [self.key_dim, self.key_dim, self.value_dim], dim=-1)
        # Token by token is cheaper for one token, but its kernel has no backward pass.
        one = state is not None and length == 1 and not torch.is_grad_enabled()
        rule = dense.torch_recurrent_gated_delta_rule if one else dense.torch_chunk_gated_delta_rule
        found, memory = rule(
            query.reshape(m, length, -1, self.head_k_dim),
            key.reshape(m, length, -1, self.head_k_dim),
            value.reshape(m, length, -1, self.head_v_dim),
            g=decay,
            beta=beta,
            initial_state=None if state is None else state.memory,
            output_final_state=True,
            use_qk_l2norm_in_kernel=True,
            **_chunk(mixed),
        )
        return found, DeltaState(history, memory)

    def _convolve(self, mixed: Tensor, rows: TokenRows, history: Tensor | None) -> tuple[Tensor, Tensor]:
        """[M, K, C] through the causal convolution behind its history [M, C, k - 1]; and the new history."""
        m, length, width = mixed.shape
        back = self.conv_kernel_size - 1
        if history is None:
            history = mixed.new_zeros(m, width, back)
        whole = torch.cat([history.to(mixed), mixed.transpose(1, 2)], dim=-1)
        found = dense.causal_conv1d_fn(
            whole, self.conv1d.weight.squeeze(1), self.conv1d.bias, activation=self.activation
        )[:, :, -length:]
        last = rows.lengths[:, None] + torch.arange(back, device=mixed.device)
        kept = whole.gather(2, last[:, None, :].expand(m, width, back))
        return found.transpose(1, 2), kept

    def _output(self, hidden: Tensor, read: Tensor) -> Tensor:
        """[B, L, heads, d_value] gated, normalised and projected to [B, L, D]."""
        gate = self.in_proj_z(hidden).reshape(-1, self.head_v_dim)
        normed = self.norm(read.reshape(-1, self.head_v_dim), gate)
        out: Tensor = self.out_proj(normed.reshape(*hidden.shape[:2], -1))
        return out


def _chunk(mixed: Tensor) -> dict[str, int]:
    """A chunk no longer than short rows need; kernels on other devices choose their own."""
    if mixed.device.type not in ("cpu", "meta"):
        return {}
    chunk = _SHORTEST_CHUNK
    while chunk < min(_CHUNK, mixed.shape[1]):
        chunk *= 2
    return {"chunk_size": chunk}


class DeltaNet(_Continuing, dense.Qwen3_5GatedDeltaNet):  # type: ignore[misc]
    """Qwen3.5's Gated DeltaNet layer, with states that can be forked."""


class MixtureDeltaNet(_Continuing, mixture.Qwen3_5MoeGatedDeltaNet):  # type: ignore[misc]
    """The same layer of Qwen3.5's mixtures of experts."""


_OURS: dict[type[nn.Module], type[nn.Module]] = {
    dense.Qwen3_5GatedDeltaNet: DeltaNet,
    mixture.Qwen3_5MoeGatedDeltaNet: MixtureDeltaNet,
}


def continue_from_states(language: nn.Module) -> None:
    """Let the layers that can do so go on from states; their weights and names stay as they are."""
    for module in language.modules():
        own = _OURS.get(type(module))
        if own is not None:
            module.__class__ = own


def layers_with_state(language: nn.Module) -> dict[int, Callable[[], DeltaLayer]]:
    """Numbers of the layers that keep a state, and how an empty one is made."""
    return {module.layer_idx: DeltaLayer for module in language.modules() if isinstance(module, _Continuing)}
