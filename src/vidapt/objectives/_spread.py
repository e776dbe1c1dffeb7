"""How far vectors spread: whether they still differ, or have collapsed to a few directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_similarity(x: Tensor, mask: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """The mean cosine between different vectors of a set, from sums alone, not pair by pair.

    Args:
        x: [..., K, C]. A vector of zeros has cosine 0 with all.
        mask: [..., K] bool, which vectors take part; None is all.
        squared: The mean of squared cosines, to which opposite directions are as alike as equal ones.

    Returns:
        [...]; 0 where fewer than two vectors take part.
    """
    unit = F.normalize(x, dim=-1)
    if mask is not None:
        unit = unit * mask.unsqueeze(-1)
    count = torch.full(x.shape[:-2], x.shape[-2], device=x.device) if mask is None else mask.sum(-1)
    own = unit.square().sum(-1)
    if squared:
        total = (unit.transpose(-1, -2) @ unit).square().sum((-1, -2)) - own.square().sum(-1)
    else:
        total = unit.sum(-2).square().sum(-1) - own.sum(-1)
    return total / (count * (count - 1)).clamp_min(1)


@torch.no_grad()
def effective_rank(x: Tensor, rows: int = 256) -> float:
    """How many directions vectors of unit length fill: e to the entropy of their singular values.

    Source: Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    Args:
        x: [K, C], brought to unit length here. They are not centred: vectors that all point one way have
            rank 1.
        rows: Of more vectors, so many are taken at even distances.

    Returns:
        Between 1 and the lesser of C and the number of vectors; 0 for none, or zeros only.
    """
    if len(x) > rows:
        x = x[torch.linspace(0, len(x) - 1, rows, device=x.device).round().long()]
    unit = F.normalize(x.double(), dim=-1)
    wide = unit.shape[0] <= unit.shape[1]
    gram = unit @ unit.T if wide else unit.T @ unit
    if not gram.any():
        return 0.0
    # Eigenvalues are squares, so what is rounded here would count as its root.
    values = torch.linalg.eigvalsh(gram)
    values = values.masked_fill(values < 1e-12 * values[-1], 0).sqrt()
    return float(torch.special.entr(values / values.sum()).sum().exp())
