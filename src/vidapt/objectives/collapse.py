"""Keep tokens of a text, and patches of a clip, from becoming alike.

Source: proposed with HiLight's experiments (motern88, 2024), without a formula. SPARC's local loss (Bica et
al. 2024, arXiv 2401.09865) compares a text with its own clip alone, and nothing in it keeps features from
becoming smooth: where all tokens, or all patches, are the same, its gradient vanishes. Here the similarity is
the mean cosine, or mean squared cosine, between different vectors.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from vidapt.objectives._candidates import exact, no_halves
from vidapt.objectives._pairs import LEVEL, Pairs, Term
from vidapt.objectives._spread import effective_rank, mean_similarity
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Penalties against collapse, and the numbers that show it.

    Args:
        cfg: Weights and levels.

    Attributes:
        levels: Of patches and tokens.
    """

    class Config(PartConfig):
        """Weights and levels. With both weights 0 nothing is penalised, and the numbers are still logged.

        Attributes:
            token_weight: Of the similarity between tokens of one text.
            patch_weight: Of the similarity between patches of one clip.
            tokens: Level of the tokens.
            patches: Level of the patches.
            above: Similarities up to this cost nothing: neighbouring patches do look alike.
            squared: Penalise the mean squared cosine instead of the mean cosine.
            rows: Vectors of each kind from which effective ranks are computed.
        """

        token_weight: float = Field(1.0, ge=0)
        patch_weight: float = Field(1.0, ge=0)
        tokens: str = Field("encoder", pattern=LEVEL)
        patches: str = Field("encoder", pattern=LEVEL)
        above: float = Field(0.0, ge=0, lt=1)
        squared: bool = False
        rows: int = Field(256, ge=2)

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.levels: list[tuple[str, str]] = [(cfg.patches, cfg.tokens)]

    def prepare(self, model: Any) -> None:
        """Nothing to build: this term has no weights of its own."""

    def forward(self, pairs: Pairs) -> Term:
        """The weighted sum of both penalties, each a mean over the sets that have two vectors or more.

        Args:
            pairs: Of this process: patches [N, P, C_v], tokens [M, L, C_t] of which `token_mask` [M, L] says
                the real ones, and the vectors [N, E] and [M, E].

        Returns:
            The term, a scalar; its chance level is no number. Its gauges: for `tokens` and `patches` the
            mean `_similarity` inside a text or clip and the effective `_rank` over all of them; for `videos`
            and `texts` the same between the vectors that stand for them; `skipped` counts texts with fewer
            than two tokens.
        """
        with no_halves(pairs.token_mask.device):
            tokens, patches = exact(pairs.tokens(self.cfg.tokens)), exact(pairs.patches(self.cfg.patches))
            real = pairs.token_mask.bool()
            several = real.sum(-1) > 1
            clips = torch.full((len(patches),), patches.shape[1] > 1, device=patches.device)
            value = self.cfg.token_weight * self._penalty(tokens, real, several)
            value = value + self.cfg.patch_weight * self._penalty(patches, None, clips)
            gauges = {
                "tokens_similarity": _inside(tokens, real, several),
                "tokens_rank": effective_rank(tokens.detach()[real], self.cfg.rows),
                "patches_similarity": _inside(patches, None, clips),
                "patches_rank": effective_rank(patches.detach().flatten(0, 1), self.cfg.rows),
                "skipped": float((~several).sum()),
            }
            for name, vectors in (("videos", pairs.videos), ("texts", pairs.texts)):
                gauges[f"{name}_similarity"] = float(mean_similarity(exact(vectors.detach())))
                gauges[f"{name}_rank"] = effective_rank(vectors.detach(), self.cfg.rows)
        return Term(value, gauges=gauges)

    def _penalty(self, x: Tensor, mask: Tensor | None, several: Tensor) -> Tensor:
        alike = mean_similarity(x, mask, squared=self.cfg.squared)
        return _mean((alike - self.cfg.above).clamp_min(0), several)


@torch.no_grad()
def _inside(x: Tensor, mask: Tensor | None, several: Tensor) -> float:
    return float(_mean(mean_similarity(x, mask), several))


def _mean(each: Tensor, several: Tensor) -> Tensor:
    return (each * several).sum() / several.sum().clamp_min(1)


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(above=0.1))
