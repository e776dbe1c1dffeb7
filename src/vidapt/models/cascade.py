"""Attention of rows of which several stand behind one prefix, whose keys and values exist once.

While tokens are written, attention reads all keys and values for every row. Rows with the same prefix read
those of the prefix together: attention to the prefix and to what is a row's own are computed apart and joined
by the sums of their exponentials, which is the softmax over both (Juravsky et al. 2024, "Hydragen"; Ye et al.
2024, "Cascade Inference").

Letters: B rows, G prefixes, P columns of a prefix, n of a row's own, q read now, K rows of a prefix at most,
H heads of width d.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from vidapt.models.attention import unlike

_FEW = 4
"""So many columns are read by two products; more by one call of torch's own attention."""


@dataclass(frozen=True)
class Shared:
    """Which prefix each row stands behind.

    Attributes:
        mask: [G, P] bool, true where a column of a prefix is real.
        owner: [B] long, the prefix of each row.
    """

    mask: Tensor
    owner: Tensor

    def of(self, rows: Tensor) -> Shared:
        """Those of some rows, or of one several times."""
        return Shared(self.mask, self.owner[rows])

    @cached_property
    def used(self) -> Tensor:
        """Prefixes that some row stands behind, in order."""
        found: Tensor = torch.unique(self.owner)
        return found

    @cached_property
    def width(self) -> int:
        """Columns from the first that is real in any prefix that is used."""
        real = self.mask[self.used].any(0).nonzero()
        return self.mask.shape[1] - int(real[0]) if len(real) else 0

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """[G, K] a row for each place beside a prefix, any row where there is none; [B] each row's place."""
        owners = self.owner.tolist()
        groups: list[list[int]] = [[] for _ in range(len(self.mask))]
        for row, owner in enumerate(owners):
            groups[owner].append(row)
        most = max(map(len, groups))
        rows = [group + [0] * (most - len(group)) for group in groups]
        back = [0] * len(owners)
        for number, group in enumerate(groups):
            for at, row in enumerate(group):
                back[row] = number * most + at
        device = self.owner.device
        return torch.tensor(rows, device=device), torch.tensor(back, device=device)


@dataclass(frozen=True)
class Cascade:
    """Who sees whom: every row its prefix and, causally, its own columns. A layout of `models.attention`.

    Attributes:
        shared: Which prefix each row has.
        cache: Whose layers hold the prefixes (`RowLayer.before`).
    """

    shared: Shared
    cache: Any

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
    ) -> Any:
        """[B, q, H, d]: what `shared_prefix_attention` gives under this layout, for its arguments."""
        before = self.cache.layers[module.layer_idx].before
        if before is None:  # nothing was read of any prefix
            seen, _ = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **asked
            )
            return seen
        few = query.shape[2] <= _FEW and unlike(asked) is None
        if few and not dropout:
            return self._apart(query, key, value, before, attention_mask, scaling)
        owner = self.shared.owner
        whole = [
            torch.cat([part[owner.to(part.device)], own], dim=2)
            for part, own in zip(before, (key, value), strict=True)
        ]
        mask = self._whole_mask(attention_mask, query, key)
        seen, _ = sdpa_attention_forward(
            module, query, *whole, mask, dropout=dropout, scaling=scaling, **asked
        )
        return seen

    def _whole_mask(self, own: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
        """[B, 1, q, P + n] bool."""
        b, _, q, _ = query.shape
        n = key.shape[2]
        if own is None:
            own = torch.ones(q, n, dtype=torch.bool, device=query.device).tril(n - q)
        prefix = self.shared.mask[self.shared.owner].to(query.device)
        return torch.cat([prefix[:, None, None].expand(b, 1, q, -1), own.expand(b, 1, q, n)], dim=3)

    def _apart(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        before: tuple[Tensor, Tensor],
        mask: Tensor | None,
        scaling: float | None,
    ) -> Tensor:
        b, heads, q, d = query.shape
        kept = key.shape[1]
        scale = d**-0.5 if scaling is None else scaling
        packed = query.reshape(b, kept, heads // kept * q, d) * scale
        if mask is None and q > 1:
            mask = torch.ones(q, key.shape[2], dtype=torch.bool, device=query.device).tril(key.shape[2] - q)
        own_mask = None if mask is None else mask.expand(b, 1, q, -1).repeat(1, 1, heads // kept, 1)
        own, own_sum = _attended(packed, key, value, own_mask)
        rows, back = (index.to(query.device) for index in self.shared.places)
        g, k = rows.shape
        beside = packed[rows].transpose(1, 2).reshape(g, kept, k * packed.shape[2], d)
        shared_mask = self.shared.mask.to(query.device)[:, None, None]
        there, there_sum = _attended(beside, *before, shared_mask)

        def each(part: Tensor) -> Tensor:
            return part.view(g, kept, k, packed.shape[2], -1).transpose(1, 2).flatten(0, 1)[back]

        weight = torch.sigmoid(own_sum - each(there_sum))
        seen = torch.lerp(each(there), own, weight.to(own.dtype))
        return seen.view(b, heads, q, d).transpose(1, 2).contiguous()


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Softmax attention, and the logarithm of the sum of its exponentials, float32, with a last axis of 1."""
    scores = (query @ key.transpose(-1, -2)).float()
    if mask is not None:
        # Not minus infinity: a prefix may be all padding, which then counts as nothing.
        scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
    sums = scores.logsumexp(-1, keepdim=True)
    return (scores - sums).exp().to(value.dtype) @ value, sums
