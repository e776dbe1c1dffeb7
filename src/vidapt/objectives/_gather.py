"""Rows of all processes, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is."""
    return dist.get_rank() if processes() > 1 else 0


def counts(rows: int, device: torch.device) -> list[int]:
    """How many rows each process brings, in the order of their ranks."""
    if processes() == 1:
        return [rows]
    found = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(processes())]
    dist.all_gather(found, torch.tensor([rows], device=device))
    return [int(count) for count in found]


def gather(x: Tensor, rows: list[int]) -> Tensor:
    """The rows of all processes, one process after the other.

    Every process computes the same loss of all rows, and data-parallel training takes the mean of their
    gradients; so the gradient of a row is summed over processes here, and the mean is the gradient of the
    loss as one process would compute it.

    Args:
        x: [n, ...], of this process.
        rows: What `counts` gave.

    Returns:
        [sum of rows, ...].
    """
    if len(rows) == 1:
        return x
    gathered: Tensor = _Gather.apply(x, rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """Collectives take equal sizes, so rows are padded to the most that a process brings."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: list[int]) -> Tensor:
        """[n, ...] of this process -> [sum of rows, ...] of all."""
        ctx.rows = rows
        padded = x.new_zeros(max(rows), *x.shape[1:])
        padded[: len(x)] = x
        found = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(found, padded)
        return torch.cat([piece[:count] for piece, count in zip(found, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """[sum of rows, ...] -> [n, ...], summed over processes; `rows` has none."""
        (grad,) = grads
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.rows[: dist.get_rank()])
        return total[start : start + ctx.rows[dist.get_rank()]], None
