"""The local alignment of words and patches, written plainly, and pairs to try it on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vidapt.objectives import Pairs
from vidapt.objectives.local_align import Part

CLIP_OF, LENGTHS = [1, 0, 1, 2], [4, 2, 1, 3]


WAYS: list[dict[str, Any]] = [
    {},
    {"sigma": 0.6},
    {"sparsify": "top_k", "k": 2},
    {"sparsify": "quantile", "q": 0.5},
]


def part(**options: Any) -> Part:
    term = Part(Part.Config(**options)).double()
    term.log_scale.data.fill_(-math.log(term.cfg.temperature))
    return term


def kept_patches(heights: list[float], options: dict[str, Any]) -> list[int]:
    everyone = range(len(heights))
    if options.get("sparsify") == "top_k":
        return sorted(everyone, key=lambda p: -heights[p])[: options["k"]]
    if options.get("sparsify") == "quantile":
        ranks, at = sorted(heights), options["q"] * (len(heights) - 1)
        low = math.floor(at)
        edge = ranks[low] + (at - low) * (ranks[min(low + 1, len(ranks) - 1)] - ranks[low])
        return [p for p in everyone if heights[p] >= edge]
    sigma = options.get("sigma", 1 / len(heights))
    return [p for p in everyone if heights[p] >= sigma]


def group_of(token: Tensor, patches: Tensor, options: dict[str, Any]) -> Tensor:
    """Equations 2 to 4: similarity, min-max, sparsify, weigh."""
    similar = torch.stack([(token * patch).sum() for patch in patches])
    heights = (similar - similar.min()) / (similar.max() - similar.min())
    kept = kept_patches(heights.tolist(), options)
    total = torch.stack([heights[p] for p in kept]).sum()
    return torch.stack([heights[p] / total * patches[p] for p in kept]).sum(0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def oracle(
    pairs: Pairs, options: dict[str, Any], temperature: Tensor, *, pooled: bool = True, mask: bool = True
) -> Tensor:
    patches, tokens = pairs.patches("encoder"), pairs.tokens("encoder")
    texts = []
    for text, clip in enumerate(pairs.clip_of.tolist()):
        words = [w for w, real in zip(tokens[text], pairs.token_mask[text], strict=True) if real or not mask]
        groups = [group_of(word, patches[clip], options) for word in words]
        logits = [[cosine(c, t) / temperature for t in words] for c in groups]
        there = [row[j] - torch.stack(row).exp().sum().log() for j, row in enumerate(logits)]
        back = [
            logits[j][j] - torch.stack([row[j] for row in logits]).exp().sum().log()
            for j in range(len(words))
        ]
        if words:
            texts.append(-(torch.stack(there) + torch.stack(back)) / 2)
    return torch.cat(texts).mean() if pooled else torch.stack([text.mean() for text in texts]).mean()
