"""Short and right beats long and wrong: a true text keeps a distance from its falsified copies.

Source: the hinge loss of VSE++ (Faghri et al. 2018, arXiv 1707.05612), on negatives made by changing a fact,
as in NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936). Random negatives differ from the true text in so
many words that a model need not read any one of them; a copy with one wrong colour can be told by that word
alone.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from vidapt.objectives._pairs import Pairs, Term
from vidapt.parts import PartConfig

CHANCE = 0.5
"""How often a model that has learned nothing prefers the true text."""


class Part(nn.Module):
    """Margin between true texts and their falsified copies."""

    class Config(PartConfig):
        """Options.

        Attributes:
            margin: By how much the true text's cosine with its clip must be above the false one's.
            hardest: Of several falsified copies of one text count only the one that fits best; otherwise
                their mean counts, so that every true text weighs the same.
        """

        margin: float = Field(0.1, gt=0, le=2)
        hardest: bool = False

    reads_false = True
    """Without such a term falsified texts are not even encoded."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg

    def prepare(self, model: Any) -> None:
        """Nothing to build: this term has no weights of its own."""

    def forward(self, pairs: Pairs) -> Term:
        """Mean hinge over the true texts that have a falsified copy.

        The gauge `wins` is the share of copies that fit worse than their original, a tie counting half, and
        `distance` the mean difference of their cosines. A batch without falsified texts costs nothing.

        Raises:
            ValueError: If falsified texts come without their originals, or not one original for each.
        """
        false, of = pairs.false_texts, pairs.false_of
        if false is None or not len(false):
            nothing = 0.0 * pairs.texts.sum()
            return Term(nothing, self.cfg.margin, {"false_texts": 0.0, "wins_chance": CHANCE})
        if of is None or of.shape != false.shape[:1]:
            raise ValueError(f"{len(false)} falsified texts need the number of the original of each")
        clips = pairs.videos[pairs.clip_of[of]]
        distance = (clips * pairs.texts[of]).sum(-1) - (clips * false).sum(-1)
        hinge = (self.cfg.margin - distance).clamp_min(0.0)
        gauges = {
            "false_texts": float(len(false)),
            "wins": _wins(distance.detach()),
            "wins_chance": CHANCE,
            "distance": float(distance.detach().mean()),
        }
        return Term(self._of_each(hinge, of, len(pairs.texts)).mean(), self.cfg.margin, gauges)

    def _of_each(self, hinge: Tensor, of: Tensor, texts: int) -> Tensor:
        """[K] costs of copies to one for each text that has any."""
        reduce = "amax" if self.cfg.hardest else "mean"
        each = hinge.new_zeros(texts).scatter_reduce(0, of, hinge, reduce, include_self=False)
        return each[torch.bincount(of, minlength=texts) > 0]


def _wins(distance: Tensor) -> float:
    """Share of [K] distances above zero; those of zero count half."""
    return float(torch.heaviside(distance.double(), distance.new_tensor(0.5, dtype=torch.float64)).mean())


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config())
