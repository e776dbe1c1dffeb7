"""Ways to draw other words from the same model: how warm each token is, and which tokens may be drawn at all.

Letters: B rows, W words of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import LogitsProcessorList, MinPLogitsWarper, TopHLogitsWarper, TopPLogitsWarper

from vidapt.strict import Strict

COLDEST = 1e-300
"""What a temperature of 0 becomes: all words but the likeliest lie infinitely far below it."""

_NO_IDS = torch.empty(0, dtype=torch.long)


class Cooling(Strict):
    """Warm at the first tokens, which settle what a reply is about; cool where facts are spelled out.

    Token i is drawn at `end + (first - end) * exp(-i / tokens)`, where `end` is the temperature of
    `Decoding`.

    Attributes:
        first: Temperature of the first token.
        tokens: After so many tokens a third (1/e) of the difference is left.
    """

    first: float = Field(1.0, ge=0, le=100)
    tokens: float = Field(4.0, gt=0, le=100_000)

    def at(self, token: int, end: float) -> float:
        """Temperature of a token, counted from 0."""
        return end + (self.first - end) * math.exp(-token / self.tokens)


class ByEntropy(Strict):
    """Cold where the model is sure, up to the full temperature where it is not.

    Source: EDT (Zhang et al. 2024, arXiv 2403.14541): T = T0 * 0.8 ** (theta / H), where H is the entropy of
    the model's own distribution, here in nats, and T0 the temperature of `Decoding`.

    Attributes:
        theta: How fast it cools; 0 leaves the temperature as it is.
    """

    theta: float = Field(0.5, ge=0, le=1000)

    def at(self, entropy: Tensor, full: float) -> Tensor:
        """Temperatures where the entropies are such; all of one shape."""
        return full * torch.pow(0.8, self.theta / entropy) if self.theta else torch.full_like(entropy, full)


Heat = Cooling | ByEntropy
"""What makes a temperature move; None where it stays."""


def temperatures(
    logits: Tensor, tokens: Sequence[int], temperature: float, heat: Heat | None
) -> Tensor | float:
    """How warm a token is drawn.

    Args:
        logits: [B, W] float64.
        tokens: [B], how many tokens each row has already.
        temperature: Of all tokens, or where `heat` ends.
        heat: What makes it move.

    Returns:
        One for all rows, or [B, 1]; above 0.
    """
    if isinstance(heat, ByEntropy):
        entropy = torch.special.entr(logits.softmax(-1)).sum(-1, keepdim=True)
        return heat.at(entropy, temperature).clamp(min=COLDEST)
    if isinstance(heat, Cooling):
        warm = [max(COLDEST, heat.at(token, temperature)) for token in tokens]
        return torch.tensor(warm, dtype=logits.dtype, device=logits.device).unsqueeze(1)
    return temperature


def scaled(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """[B, W] logits over their temperatures, in float64; the likeliest lies at 0, however small these are."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


class Allowed:
    """Which words may be drawn: the others are put at minus infinity.

    Args:
        top_p: Together at least so likely; 1 allows all.
        min_p: At least so likely as this share of the likeliest (Nguyen et al. 2024, arXiv 2407.01082); 0
            allows all.
        top_h: The likeliest words that make up this share of the entropy (Potraghloo et al. 2025, arXiv
            2509.02510), of the 100 likeliest; 1 does nothing.
    """

    def __init__(self, top_p: float = 1.0, min_p: float = 0.0, top_h: float = 1.0) -> None:
        asked: list[Any] = [TopPLogitsWarper(top_p)]
        asked += [MinPLogitsWarper(min_p)] if min_p else []
        asked += [TopHLogitsWarper(top_h)] if top_h < 1 else []
        self._warp = LogitsProcessorList(asked)

    def __call__(self, scores: Tensor) -> Tensor:
        """[B, W] scores; the likeliest word of each row always stays."""
        kept = self._warp(_NO_IDS, scores)
        assert isinstance(kept, Tensor)
        return kept


def draw(scores: Tensor, streams: list[torch.Generator]) -> Tensor:
    """Draw a word for each row from a stream of its own.

    Args:
        scores: [B, W] float64.
        streams: [B] on CPU.

    Returns:
        [B] long.
    """
    # Drawing through the cumulative distribution takes one number per row, which torch.multinomial would draw
    # for all rows from one generator. In float64 a draw below 1 stays below the total.
    sums = scores.softmax(-1).cumsum(-1)
    draws = torch.stack([torch.rand((), generator=stream) for stream in streams])
    points = draws.to(sums).unsqueeze(1) * sums[:, -1:]
    return torch.searchsorted(sums, points, right=True).squeeze(1)
