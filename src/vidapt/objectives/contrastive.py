"""Clips and their texts find each other among all clips and texts of a step.

Source: symmetric InfoNCE of CLIP (Radford et al. 2021, arXiv 2103.00020); summed over both directions and not
halved in CLIP-ViP (Xue et al. 2022, arXiv 2209.06430). Several right texts: SupCon (Khosla et al. 2020,
arXiv 2004.11362) for `each`, MIL-NCE (Miech et al. 2020, arXiv 1912.06430) for `any`, and for `apart` the
post-pretraining of CLIP-ViP, in which texts of one clip share its negatives. Principal components: Long-CLIP
(Zhang et al. 2024, arXiv 2403.15378).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidapt.objectives._candidates import OUT, Choice, LookAlikes, cross_entropy, entropy, exact, no_halves
from vidapt.objectives._gather import counts, gather, rank
from vidapt.objectives._pairs import Pairs, Term
from vidapt.objectives._principal import principal
from vidapt.parts import PartConfig


class Part(nn.Module):
    """Global contrastive loss, over the clips and texts of all processes.

    Args:
        cfg: What counts as right, and how rows are weighed.
    """

    class Config(PartConfig):
        """What counts as right, and how rows are weighed.

        Attributes:
            positives: How a clip with several right texts is scored. `each`: the target is spread evenly over
                them. `any`: their probabilities are added, so that one found text is enough. `apart`: each
                is compared with the wrong ones alone, and does not compete with the other right ones.
            look_alikes: What is done with a text whose clip looks like the clip it is compared with: one of
                the same `group`, or a near-duplicate by `duplicate_above`.
            look_alike_weight: Of a look-alike among the right ones; its own text has 1.
            duplicate_above: Clips whose vectors, or texts whose vectors, have a higher cosine are
                look-alikes; None compares no vectors. An untrained tower gives high cosines to all.
            duplicates: Which vectors are compared.
            count: Whether each text counts the same, or each clip, so that texts of one clip share its
                weight.
            texts: Which texts of a clip take part; lengths are in tokens, and the first of equals is taken.
            components: Match with this many principal components of the clips of one process (Long-CLIP: 32,
                for short texts); None matches with the whole vectors. Where a process brings no more than
                one clip more than this, nothing changes.
            smoothing: Label smoothing.
            halved: Take the mean of both directions; else their sum.
        """

        positives: Literal["each", "any", "apart"] = "each"
        look_alikes: LookAlikes = "negatives"
        look_alike_weight: float = Field(1.0, gt=0)
        duplicate_above: float | None = Field(None, ge=-1, le=1)
        duplicates: Literal["videos", "texts", "either"] = "either"
        count: Literal["texts", "clips"] = "texts"
        texts: Literal["all", "longest", "shortest"] = "all"
        components: int | None = Field(None, ge=1)
        smoothing: float = Field(0.0, ge=0, lt=1)
        halved: bool = True

        @model_validator(mode="after")
        def _fits(self) -> Part.Config:
            if self.smoothing and self.positives != "each":
                raise ValueError("`smoothing` goes with `positives: each`")
            if self.duplicate_above is not None and self.look_alikes == "negatives":
                raise ValueError("`duplicate_above` needs `look_alikes: excluded` or `positives`")
            return self

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg

    def prepare(self, model: Any) -> None:
        """Nothing to build: this term has no weights of its own."""

    def forward(self, pairs: Pairs) -> Term:
        """The loss, with gradients to the vectors and the scale.

        Args:
            pairs: Of this process. Every process has to call.

        Returns:
            The term. Its gauges: `clips_found` and `texts_found` are the shares of rows whose best candidate
            is a right one, `floor` the least value possible, `candidates` the mean number for a text,
            `look_alikes` how many pairs of a text and another clip were found to be such, `temperature` what
            cosines are divided by.
        """
        with no_halves(pairs.videos.device):
            batch = self._together(pairs)
            logits = exact(pairs.scale) * batch.texts @ batch.videos.T
            to_clips, to_texts, alike = self._choices(batch, logits.dtype)
            directions = [self._loss(logits, to_clips), self._loss(logits.T, to_texts)]
        factor = 0.5 if self.cfg.halved else 1.0
        value, chance, floor = (factor * (a + b) for a, b in zip(*directions, strict=True))
        return Term(
            value,
            float(chance),
            {
                "clips_found": to_clips.hits(logits.detach()),
                "texts_found": to_texts.hits(logits.T.detach()),
                "floor": float(floor),
                "candidates": float(to_clips.mean(to_clips.allowed.sum(-1).to(logits.dtype))),
                "look_alikes": float(alike.sum()),
                "temperature": 1 / float(pairs.scale.detach()),
            },
        )

    def _together(self, pairs: Pairs) -> _Batch:
        chosen = _chosen(pairs, self.cfg.texts)
        videos, texts = exact(pairs.videos), exact(pairs.texts)[chosen]
        if self.cfg.components is not None:
            videos = principal(videos, self.cfg.components)
        clips, rows = counts(len(videos), videos.device), counts(len(texts), videos.device)
        ends = torch.tensor(clips).cumsum(0).tolist()
        first = ends[rank()] - len(videos)
        return _Batch(
            gather(videos, clips),
            gather(texts, rows),
            gather(pairs.clip_of[chosen] + first, rows),
            gather(pairs.group, clips),
        )

    def _choices(self, batch: _Batch, dtype: torch.dtype) -> tuple[Choice, Choice, Tensor]:
        """What texts choose among clips, what clips choose among texts, and [M, N]: who looks alike."""
        own = F.one_hot(batch.clip_of, len(batch.videos)).bool()
        alike = torch.zeros_like(own)
        if self.cfg.look_alikes != "negatives":
            alike = batch.group[batch.clip_of][:, None] == batch.group
            if self.cfg.duplicate_above is not None:
                alike = alike | _duplicates(batch, own, self.cfg.duplicate_above, self.cfg.duplicates)
            alike = alike & ~own
        # Who does not take part has no share, whatever stands here.
        share = own.to(dtype) + self.cfg.look_alike_weight * alike.to(dtype)
        allowed = ~alike if self.cfg.look_alikes == "excluded" else torch.ones_like(own)
        of_clip = own.to(dtype).sum(0)
        weight = (
            of_clip.reciprocal()[batch.clip_of] if self.cfg.count == "clips" else of_clip.new_ones(len(own))
        )
        # A clip without a text of its own chooses nothing, though it may look like one that has some.
        has_text = (of_clip > 0).to(dtype)
        return Choice(share, allowed, weight), Choice(share.T, allowed.T, has_text), alike

    def _loss(self, logits: Tensor, choice: Choice) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, chance level and least value of one direction, from [R, C]."""
        if not logits.numel():
            return logits.sum(), logits.new_zeros(()), logits.new_zeros(())
        if self.cfg.positives == "each":
            least = choice.mean(entropy(choice, self.cfg.smoothing))
            loss: Callable[[Tensor, Choice], Tensor] = partial(cross_entropy, smoothing=self.cfg.smoothing)
        else:
            least = logits.new_zeros(())
            loss = _any if self.cfg.positives == "any" else _apart
        blind = loss(torch.zeros_like(logits), choice)
        return choice.mean(loss(logits, choice)), choice.mean(blind), least


@dataclass(frozen=True)
class _Batch:
    """Videos [N, E], texts [M, E], clip_of [M] and group [N] of all processes."""

    videos: Tensor
    texts: Tensor
    clip_of: Tensor
    group: Tensor


def _chosen(pairs: Pairs, which: Literal["all", "longest", "shortest"]) -> Tensor:
    """Rows of the texts that take part, in their order."""
    everyone = torch.arange(len(pairs.texts), device=pairs.clip_of.device)
    if which == "all":
        return everyone
    lengths = pairs.token_mask.sum(-1)
    order = lengths.argsort(stable=True, descending=which == "longest")
    clips = pairs.clip_of[order]
    same = clips[:, None] == clips
    first = ~(same.tril(-1).any(-1))
    return order[first].sort().values


def _duplicates(
    batch: _Batch, own: Tensor, above: float, which: Literal["videos", "texts", "either"]
) -> Tensor:
    """[M, N] bool: whether a text's clip, or the text itself, is nearly another clip, or one of its texts."""
    alike = torch.zeros_like(own)
    if which != "texts":
        videos = F.normalize(batch.videos.detach(), dim=-1)
        alike = ((videos @ videos.T) > above)[batch.clip_of]
    if which != "videos":
        texts = batch.texts.detach()
        near = (texts @ texts.T > above).to(texts.dtype)
        alike = alike | (near @ own.to(texts.dtype) > 0)
    return alike


def _any(logits: Tensor, choice: Choice) -> Tensor:
    """[R]: minus the logarithm of the probability of all right candidates together."""
    weighed = logits + choice.share.clamp_min(torch.finfo(logits.dtype).tiny).log()
    found = weighed.masked_fill(~choice.right, OUT).logsumexp(-1)
    other = logits.masked_fill(choice.right | ~choice.allowed, OUT).logsumexp(-1)
    return F.softplus(other - found)


def _apart(logits: Tensor, choice: Choice) -> Tensor:
    """[R]: the mean over right candidates of the cross-entropy of each among the wrong ones."""
    wrong = logits.masked_fill(choice.right | ~choice.allowed, OUT).logsumexp(-1, keepdim=True)
    return (choice.targets() * F.softplus(wrong - logits)).sum(-1)


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(look_alikes="excluded"))
