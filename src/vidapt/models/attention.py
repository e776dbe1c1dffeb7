"""Attention for sequences in which several questions stand behind one shared prefix.

Two stock scaled-dot-product calls do it: the prefix's rows attend causally among themselves; each
question's rows attend to the prefix and, causally, to their own question. Compared with one call under a
dense mask, no work is spent on prefix rows looking at questions. Molmo (Deitke et al., 2024) trains with
such a mask over several annotations of one image.

The functions are registered with transformers under `SHARED_PREFIX`, so causal language models that hand
`layout` on to every attention layer run with them (`_language_check` makes sure); without a layout they are
transformers' own SDPA attention, with sliding windows counted in real tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from vidapt.models.token_rows import TokenRows, by_owner

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
    def longest(self) -> int:
        """Tokens of the longest sequence: a prefix and one question behind it."""
        counts = F.one_hot(self.owner + 1).sum(1)[:, 1:]  # of each question; padding belongs to none
        own = counts.amax(1) if counts.shape[1] else 0
        return int((self.valid.sum(1) + own).max())

    @cached_property
    def questions(self) -> TokenRows:
        """Each question's tokens as a row, for layers that go on from a state."""
        return by_owner(self.owner)

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
        """[N, L, heads, d]: what `shared_prefix_attention` gives under this layout, for its arguments."""
        del attention_mask  # the layout says it all
        _check(asked, self)
        if self.flex and not dropout:
            return _flex(query, key, value, self, scaling)
        groups = int(getattr(module, "num_key_value_groups", 1))
        if groups > 1:
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        return _two_calls(query, key, value, self, scaling, dropout).transpose(1, 2).contiguous()

    def fork(self, module: Any, hidden: Tensor) -> Tensor:
        """[N, P + S, D]: what a layer with state makes of [N, P + S, D].

        Args:
            module: The layer; its `forked` reads prefixes, and questions from the states behind them.
            hidden: Its input.

        Raises:
            ConfigError: Under FlexAttention, which computes attention alone.
        """
        if self.flex:
            raise flex_refused()
        found: Tensor = module.forked(hidden, self)
        return found


def flex_refused() -> ConfigError:
    """That a language model with state is to be trained by FlexAttention."""
    return ConfigError(
        "batching.flex",
        "computes attention alone, and layers of this language model keep a state, which is forked instead",
        "leave it out: shared prefixes are as exact and as cheap without it",
    )


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
    if layout is not None:
        seen = layout.attend(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest
        )
        return seen, None
    seen, weights = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **rest
    )
    return seen, weights


def real_token_mask(
    *,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    **rest: Any,
) -> Tensor | None:
    """The SDPA mask of transformers, but a sliding window counts real tokens, not the padding between.

    A row of a batch is padded in front of its prefix and again in front of its question; counted in
    columns, a window would reach less far in such a row than in the same row alone.

    Args:
        q_length: S, the columns being read.
        kv_length: K, the columns they may look at.
        q_offset: Number of the first column being read.
        kv_offset: Number of the first column to look at.
        attention_mask: [B, columns], true where a column is real; None if all are.
        local_size: Length of the window in tokens; None without one.
        rest: Passed to transformers' function.

    Returns:
        [B, 1, S, K] bool: who sees whom; None where SDPA's own causal mask says the same.
    """
    if attention_mask is None or local_size is None or kv_offset + kv_length <= local_size:
        mask: Tensor | None = sdpa_mask(
            q_length=q_length,
            kv_length=kv_length,
            q_offset=q_offset,
            kv_offset=kv_offset,
            attention_mask=attention_mask,
            local_size=local_size,
            **rest,
        )
        return mask
    real = attention_mask.bool()
    number = real.long().cumsum(-1)
    queries, keys = slice(q_offset, q_offset + q_length), slice(kv_offset, kv_offset + kv_length)
    back = number[:, queries, None] - number[:, None, keys]
    return ((back >= 0) & (back < local_size) & real[:, None, keys]).unsqueeze(1)


def _check(asked: Mapping[str, Any], layout: PrefixLayout) -> None:
    """Refuse what would otherwise be left out in silence."""
    window = asked.get("sliding_window")
    if window is not None and window < layout.longest:
        raise ConfigError(
            "blueprint.language",
            f"attends within a window of {window} tokens, the sequence has {layout.longest}",
            "use fewer frames or a language model without a sliding window",
        )
    if (reason := unlike(asked)) is not None:
        raise ConfigError("blueprint.language", reason, "use a language model with plain attention")


def unlike(asked: Mapping[str, Any]) -> str | None:
    """What a layer asks of its attention beyond plain softmax attention, if anything, as a sentence.

    Args:
        asked: The keywords it calls its attention function with.
    """
    for name in ("softcap", "s_aux", "position_bias"):
        if asked.get(name) is not None:
            return f"its attention uses {name}"
    return None


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
AttentionMaskInterface.register(SHARED_PREFIX, real_token_mask)
