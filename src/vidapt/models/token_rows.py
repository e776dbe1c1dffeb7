"""Tokens of a batch as rows without gaps, which is how layers with state have to read them.

A softmax layer passes over padding by a mask wherever it stands. A recurrence and a convolution take a token
after the other: padding between two real tokens would be read as one of them. So each sequence is taken out
as a row of its own with its tokens in front, is read, and is put back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenRows:
    """M sequences of up to K tokens among the columns of a batch [B, L].

    Attributes:
        real: [M, K] bool: padding stands behind each row's tokens only.
        origin: [M] long: the row of the batch that each sequence stands in.
        index: [M, K] long: flat place b * L + l of each token; of padding, any. None if the rows are the
            batch as it is.
        back: [B, L] long: flat place m * K + k of each column; of columns in no sequence, any.
    """

    real: Tensor
    origin: Tensor
    index: Tensor | None = None
    back: Tensor | None = None

    def take(self, x: Tensor) -> Tensor:
        """[B, L, ...] to [M, K, ...], with zeros where padding stands."""
        rows = x if self.index is None else x.flatten(0, 1)[self.index]
        return rows.masked_fill(~_wide(self.real, rows), 0)

    def put(self, rows: Tensor) -> Tensor:
        """[M, K, ...] to [B, L, ...]; what stands in columns of no sequence means nothing."""
        return rows if self.back is None else rows.flatten(0, 1)[self.back]

    @property
    def lengths(self) -> Tensor:
        """[M] long: tokens of each row."""
        return self.real.sum(1)


def as_they_are(real: Tensor) -> TokenRows:
    """Rows [B, L] whose padding stands behind them already; `real` says what is none."""
    return TokenRows(real, torch.arange(len(real), device=real.device))


def without_gaps(real: Tensor) -> TokenRows:
    """Rows of a batch with padding anywhere: each row's tokens in front, in their order.

    Args:
        real: [B, L] bool.
    """
    b, length = real.shape
    order = (~real).to(torch.uint8).argsort(dim=1, stable=True)
    first = torch.arange(b, device=real.device)[:, None] * length
    return TokenRows(
        real=real.gather(1, order),
        origin=torch.arange(b, device=real.device),
        index=first + order,
        back=first + order.argsort(dim=1),
    )


def by_owner(owner: Tensor) -> TokenRows:
    """A row for every question that stands behind its prefix.

    Args:
        owner: [N, S] long: the question each column belongs to; -1 is padding.

    Returns:
        Rows in the order of the batch's rows and, within, of their questions' numbers.
    """
    n, s = owner.shape
    many = int(owner.max()) + 1 if owner.numel() else 0
    row = torch.arange(n, device=owner.device)[:, None]
    key = torch.where(owner >= 0, row * many + owner, n * many).flatten()
    order = key.argsort(stable=True)
    counts = torch.bincount(key, minlength=n * many + 1)
    starts = counts.cumsum(0) - counts
    asked = counts[:-1].nonzero().flatten()
    longest = int(counts[asked].max()) if len(asked) else 0
    column = torch.arange(longest, device=owner.device)
    real = column < counts[asked][:, None]
    index = order[torch.where(real, starts[asked][:, None] + column, 0)]
    number = torch.zeros_like(counts)
    number[asked] = torch.arange(len(asked), device=owner.device)
    back = number[key] * longest + order.argsort() - starts[key]
    back = torch.where(owner.flatten() >= 0, back, 0).view(n, s)
    return TokenRows(real, asked // max(many, 1), index, back)


def _wide(real: Tensor, like: Tensor) -> Tensor:
    return real.reshape(*real.shape, *(1,) * (like.dim() - 2))
