"""Each token's group of patches, without ever holding a number per token, patch and channel.

Source: SPARC (Bica et al. 2024, "Improving fine-grained understanding in image-text pre-training",
arXiv 2401.09865), equations 2 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 64
"""Tokens computed together; bounds memory, does not change the result."""

Keep = Callable[[Tensor], Tensor]
"""From similarities [r, P], brought to 0..1 for each token, to which of them are kept, [r, P] bool."""


def group(queries: Tensor, clip: Tensor, patches: Tensor, keep: Keep) -> tuple[Tensor, Tensor, Tensor]:
    """Average patches, weighed by their similarity with a token.

    Similarities s = q . v are brought to 0..1 over the patches of the clip, those that `keep` does not name
    become 0, and the others are divided by their sum. Only inputs are kept for the gradient, and clips are
    computed one by one, so that no more than `ROWS` x P similarities exist at a time.

    Args:
        queries: [R, C], the tokens.
        clip: [R] long, ascending: the clip of each token.
        patches: [N, P, C].
        keep: Which similarities are kept. It must keep the highest.

    Returns:
        The groups [R, C], in the precision of the queries; the number of patches kept for each, [R]; and
        which tokens find all patches equally similar, [R] bool. They have no group: zeros, no gradient.
    """
    grouped, kept, flat = _Grouping.apply(queries, clip, patches, keep)  # type: ignore[no-untyped-call]
    return grouped, kept, flat


class _Grouping(torch.autograd.Function):
    """Similarities are computed again for the gradient.

    A weight is (s - low) / sum of kept (s - low): the division by high - low cancels.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, clip: Tensor, patches: Tensor, keep: Keep) -> Any:
        ctx.save_for_backward(queries, clip, patches)
        ctx.keep = keep
        grouped = torch.empty_like(queries)
        count = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        flat = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
        for rows, number in _pieces(clip):
            seen = patches[number].to(queries.dtype)
            heights, kept, flat[rows] = _heights(queries[rows], seen, keep)
            count[rows] = kept.sum(-1)
            grouped[rows] = heights.mul_(kept).div_(_total(heights)) @ seen
        ctx.mark_non_differentiable(count, flat)
        return grouped, count, flat

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        queries, clip, patches = ctx.saved_tensors
        to_queries, to_patches = torch.empty_like(queries), torch.zeros_like(patches)
        for rows, number in _pieces(clip):
            seen, grad = patches[number].to(queries.dtype), grads[0][rows]
            heights, kept, _ = _heights(queries[rows], seen, ctx.keep)
            lowest = heights == 0
            total = _total(heights.mul_(kept))
            weights = heights.div_(total)
            _add_product(to_patches[number], weights.T, grad)
            # A similarity moves its own weight, and all others through the sum.
            moved = grad @ seen.T
            moved.sub_(weights.mul_(moved).sum(-1, keepdim=True)).mul_(kept).div_(total)
            # All of them are measured from the lowest.
            moved.sub_(lowest * (moved.sum(-1, keepdim=True) / lowest.sum(-1, keepdim=True)))
            to_queries[rows] = moved @ seen
            _add_product(to_patches[number], moved.T, queries[rows])
        return to_queries, None, to_patches, None


def _pieces(clip: Tensor) -> Iterator[tuple[slice, int]]:
    """Stretches of at most `ROWS` tokens of one clip, and its number."""
    start = 0
    for number, count in enumerate(torch.bincount(clip).tolist()):
        for at in range(start, start + count, ROWS):
            yield slice(at, min(at + ROWS, start + count)), number
        start += count


def _heights(queries: Tensor, seen: Tensor, keep: Keep) -> tuple[Tensor, Tensor, Tensor]:
    """How far each similarity lies above the token's lowest, which are kept, and which tokens are flat."""
    heights = queries @ seen.T
    size = queries.norm(dim=-1) * seen.norm(dim=-1).max()
    heights.sub_(heights.amin(-1, keepdim=True))
    span = heights.amax(-1)
    # Equal patches differ by what a product rounds.
    flat = span <= 16 * torch.finfo(heights.dtype).eps * size
    # What is kept of 0 / 0 is dropped at once.
    kept = keep(heights / span.unsqueeze(-1)) & ~flat.unsqueeze(-1)
    return heights, kept, flat


def _total(heights: Tensor) -> Tensor:
    """[r, P] -> [r, 1]: the sum, or 1 where it is nothing."""
    total = heights.sum(-1, keepdim=True)
    return total.masked_fill(total == 0, 1.0)


def _add_product(to: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b in place, without a copy where precisions are equal."""
    if to.dtype == a.dtype:
        to.addmm_(a, b)
    else:
        to += a @ b
