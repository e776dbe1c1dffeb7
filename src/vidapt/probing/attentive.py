"""An attentive probe: one learned query looks over a clip's tokens, and a linear layer reads what it finds.

After the attentive probes of Chen et al. 2022 ("Context Autoencoder", arXiv 2202.03026), with one query and
no projection of keys and values. All probes of a fact learn at once, each from its own examples: they share
no weight, and Adam treats every weight by itself. Letters: N examples, n tokens, C channels, A classes, H
probes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vidapt.probing.pooled import Row

WEIGHTS = (0.3, 0.03, 0.003)
"""Of the penalty on squares of weights."""

CHANNELS = 256
"""More channels than these are turned to their largest principal components."""

_STEPS, _RATE = 120, 0.05
_SAMPLED = 4096
_AT_ONCE = 1 << 25
"""Numbers held for the probes that learn together, about."""


def padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """[N, n, C] tokens of unit variance with their places behind, and [N, n] which of them there are."""
    directions = _components(rows) if rows[0].x.shape[1] > CHANNELS else None
    # One after the other, since all tokens of a large tower do not fit into memory twice.
    fewer = [row.x.float() if directions is None else row.x.float() @ directions for row in rows]
    x = torch.nn.utils.rnn.pad_sequence(fewer, batch_first=True)
    at = torch.nn.utils.rnn.pad_sequence([row.at for row in rows], batch_first=True)
    lengths = torch.tensor([len(row.x) for row in rows])
    there = torch.arange(x.shape[1])[None] < lengths[:, None]
    known = x[there]
    x = (x - known.mean(0)) / known.std(0, correction=0).clamp(min=1e-6)
    places = torch.cat((at, at.square()), dim=-1)
    return torch.cat((x, places), dim=-1) * there[..., None], there


def _components(rows: Sequence[Row]) -> Tensor:
    """[C, CHANNELS] principal directions of tokens, told without any label."""
    step = max(1, sum(len(row.x) for row in rows) // _SAMPLED)
    some = torch.cat([row.x[number % step :: step].float() for number, row in enumerate(rows)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, directions = torch.svd_lowrank(some - some.mean(0), q=min(CHANNELS, *some.shape))
    return directions


def predictions(
    x: Tensor, there: Tensor, targets: Tensor, learned: Tensor, device: str | torch.device = "cpu"
) -> Tensor:
    """What attentive probes say of all examples.

    Args:
        x: [N, n, C], as `padded` gives it.
        there: [N, n] likewise.
        targets: [K, N] classes from 0; K sets of labels.
        learned: [H, N] bool: from which examples each probe learns.
        device: Where they learn.

    Returns:
        [weights, K, H, N] classes.
    """
    classes = int(targets.max()) + 1
    x, there = x.to(device), there.to(device)
    sets, ways = len(targets), len(learned)
    heads = [(w, k, h) for w in range(len(WEIGHTS)) for k in range(sets) for h in range(ways)]
    size = max(1, _AT_ONCE // (len(x) * sum(x.shape[1:])))
    found = torch.zeros(len(heads), len(x), dtype=torch.long)
    for start in range(0, len(heads), size):
        some = heads[start : start + size]
        weights = torch.tensor([WEIGHTS[w] for w, _, _ in some], device=device)
        wanted = torch.stack([targets[k] for _, k, _ in some]).to(device)
        mask = torch.stack([learned[h] for _, _, h in some]).to(device)
        found[start : start + size] = _learned(x, there, wanted, mask, weights, classes).cpu()
    return found.reshape(len(WEIGHTS), sets, ways, len(x))


def _learned(x: Tensor, there: Tensor, wanted: Tensor, mask: Tensor, weights: Tensor, classes: int) -> Tensor:
    """[H, N] classes, after some steps over all examples; all begins at zero, so that no seed decides."""
    count, width = len(wanted), x.shape[2]
    query = x.new_zeros(width, count).requires_grad_()
    layer = x.new_zeros(count, width, classes).requires_grad_()
    bias = x.new_zeros(count, 1, classes).requires_grad_()
    rule = torch.optim.Adam([query, layer, bias], lr=_RATE)
    share = mask / mask.sum(1, keepdim=True)

    def said() -> Tensor:
        scores = (x @ query).masked_fill(~there[..., None], -torch.inf)  # [N, n, H]
        found = scores.softmax(1).transpose(1, 2) @ x  # [N, H, C]
        return found.transpose(0, 1) @ layer + bias  # [H, N, A]

    with torch.enable_grad():
        for _ in range(_STEPS):
            loss = functional.cross_entropy(said().flatten(0, 1), wanted.flatten(), reduction="none")
            kept = layer.square().sum((1, 2)) + query.square().sum(0)
            total = (loss.reshape(count, -1) * share).sum() + (weights * kept).sum()
            rule.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            rule.step()
    with torch.no_grad():
        return said().argmax(-1)
