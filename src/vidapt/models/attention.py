"""Attention for sequences in which several questions stand behind one shared prefix.

Two stock scaled-dot-product calls do it: the prefix's rows attend causally among themselves; each
question's rows attend to the prefix and, causally, to their own question. Compared with one call under a
dense mask, no work is spent on prefix rows looking at questions. Molmo (Deitke et al., 2024) trains with
such a mask over several annotations of one image.

The functions are registered with transformers under `SHARED_PREFIX`, so any causal language model that
supports pluggable attention runs with them; without a layout they are transformers' own SDPA attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from vidapt.errors import ConfigError

SHARED_PREFIX = "vidapt_shared_prefix"


@dataclass(frozen=True)
class PrefixLayout:
    """Who may see whom in N sequences of P prefix and S suffix positions.

    Attributes:
        valid: [N, P] bool: which prefix positions are real (the others pad it on the right).
        owner: [N, S] long: the question each suffix position belongs to; -1 is padding.
        flex: Use FlexAttention instead of the two calls. Training needs CUDA then: it has no backward
            pass on CPU.
    """

    valid: Tensor
    owner: Tensor
    flex: bool = False

    @property
    def prefix(self) -> int:
        """P."""
        return int(self.valid.shape[1])

    @cached_property
    def suffix_mask(self) -> Tensor:
        """[N, 1, S, P + S] bool: which keys a suffix row sees."""
        n, s = self.owner.shape
        same = self.owner[:, :, None] == self.owner[:, None, :]
        causal = torch.ones(s, s, dtype=torch.bool, device=self.owner.device).tril()
        prefix = self.valid[:, None, :].expand(n, s, self.prefix)
        return torch.cat([prefix, same & causal], dim=2).unsqueeze(1)

    @cached_property
    def block_mask(self) -> Any:
        """FlexAttention's block mask of the same relation over P + S rows and columns."""
        from torch.nn.attention.flex_attention import create_block_mask

        n, s = self.owner.shape
        p, valid, owner = self.prefix, self.valid, self.owner

        def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            del h
            q_suffix, k_suffix = (q - p).clamp_min(0), (k - p).clamp_min(0)
            in_prefix = (k < p) & valid[b, k.clamp_max(max(p - 1, 0))]
            own = (q >= p) & (k >= p) & (owner[b, q_suffix] == owner[b, k_suffix])
            return (k <= q) & (((q < p) & (k < p)) | ((q >= p) & in_prefix) | own)

        return create_block_mask(sees, n, None, p + s, p + s, device=str(owner.device))


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: PrefixLayout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **rest: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention under a `PrefixLayout`, or transformers' SDPA attention without one.

    Args:
        module: The attention layer, asked for its number of key-value groups.
        query: [N, heads, L, d].
        key: [N, key heads, L, d].
        value: Like `key`.
        attention_mask: Used only without a layout.
        layout: Who sees whom.
        scaling: Factor on the scores; None is 1/sqrt(d).
        dropout: Probability of dropping a weight.
        rest: Passed to transformers' function.

    Returns:
        [N, L, heads, d], and None where weights would stand.

    Raises:
        ConfigError: If the language model asks for a kind of attention that a layout cannot give.
    """
    if layout is None:
        seen, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
        )
        return seen, weights
    _check(rest, key.shape[2])
    if layout.flex and not dropout:
        return _flex(query, key, value, layout, scaling), None
    groups = int(getattr(module, "num_key_value_groups", 1))
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    seen = _two_calls(query, key, value, layout, scaling, dropout)
    return seen.transpose(1, 2).contiguous(), None


def _check(asked: dict[str, Any], length: int) -> None:
    """Refuse what would otherwise be left out in silence."""
    window = asked.get("sliding_window")
    if window is not None and window < length:
        raise ConfigError(
            "blueprint.language",
            f"attends within a window of {window} tokens, the sequence has {length}",
            "use fewer frames or a language model without a sliding window",
        )
    for name in ("softcap", "s_aux"):
        if asked.get(name) is not None:
            raise ConfigError(
                "blueprint.language",
                f"its attention uses {name}",
                "use a language model with plain attention",
            )


def _two_calls(
    query: Tensor, key: Tensor, value: Tensor, layout: PrefixLayout, scaling: float | None, dropout: float
) -> Tensor:
    p = layout.prefix
    parts = []
    if p:
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, :p],
                key[:, :, :p],
                value[:, :, :p],
                is_causal=True,
                scale=scaling,
                dropout_p=dropout,
            )
        )
    parts.append(
        F.scaled_dot_product_attention(
            query[:, :, p:], key, value, attn_mask=layout.suffix_mask, scale=scaling, dropout_p=dropout
        )
    )
    return torch.cat(parts, dim=2)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _flex(query: Tensor, key: Tensor, value: Tensor, layout: PrefixLayout, scaling: float | None) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    attend = _compiled_flex() if query.is_cuda else flex_attention
    seen = attend(
        query,
        key,
        value,
        block_mask=layout.block_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(seen, Tensor)
    return seen.transpose(1, 2).contiguous()


AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)
AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)
