"""Each word finds its own patches: SPARC's fine-grained loss, between a text's tokens and its clip's patches.

Source: SPARC (Bica et al. 2024, "Improving fine-grained understanding in image-text pre-training",
arXiv 2401.09865), equations 2 to 6 and its listing, which differ in how they average. That a threshold of 1/P
keeps nearly all of many patches is a property of its min-max normalisation; hence `top_k` and `quantile`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.objectives._candidates import Choice, LookAlikes, cross_entropy, exact, no_halves
from vidapt.objectives._grouping import group
from vidapt.objectives._pairs import LEVEL, Pairs, Term
from vidapt.parts import PartConfig

COLDEST = 100.0
"""The greatest factor on cosines, as in CLIP."""


class Part(nn.Module):
    """Local contrastive loss between tokens and the patches they weigh most.

    Args:
        cfg: Which patches a token keeps, how tokens are averaged, and where.

    Attributes:
        levels: Of patches and tokens that are aligned; with `every_layer` complete after `prepare`.
        maps: Token width from patch width, without bias, for each pair of levels where they differ.
        log_scale: Natural logarithm of the factor on cosines, one over the temperature.
    """

    class Config(PartConfig):
        """Which patches a token keeps, how tokens are averaged, and where.

        Attributes:
            sparsify: `threshold` keeps similarities of at least `sigma`, after they were brought to 0..1 over
                the patches; `top_k` keeps the `k` highest; `quantile` those not below the quantile `q`.
            sigma: None is 1/P. At P of 2356 this keeps nearly all patches, and 2320/2356 only 1 to 3.
            k: Patches kept; all, where there are fewer.
            q: Share of patches dropped.
            reduction: `pooled` averages over all tokens of the batch (the paper's listing), `sample` over the
                tokens of each text and then over texts (its equation 6).
            mask: Whether padding is left out, as candidate and as row; else it counts like a word.
            across: Whether a token is told apart from those of its own text, or of all texts of this process.
            look_alikes: What is done with a token that looks like the right one: by `duplicate_above`, or,
                across the batch, because its text is about the same clip, or one of the same group. Of these
                `positives` accepts only the ones above `duplicate_above`, and leaves the others out.
            duplicate_above: Tokens with a higher cosine are look-alikes; None compares none.
            patches: Level of the patches.
            tokens: Level of the tokens.
            every_layer: Instead of one pair of levels, align the layers of both towers one by one, with
                weights that rise evenly from the first layer to the last. The value is their weighted mean.
            layer_weights: First and last weight.
            temperature: At the start; it is learned.
        """

        sparsify: Literal["threshold", "top_k", "quantile"] = "threshold"
        sigma: float | None = Field(None, ge=0, le=1)
        k: int | None = Field(None, ge=1)
        q: float | None = Field(None, ge=0, lt=1)
        reduction: Literal["pooled", "sample"] = "pooled"
        mask: bool = True
        across: Literal["sample", "batch"] = "sample"
        look_alikes: LookAlikes = "negatives"
        duplicate_above: float | None = Field(None, ge=-1, le=1)
        patches: str = Field("encoder", pattern=LEVEL)
        tokens: str = Field("encoder", pattern=LEVEL)
        every_layer: bool = False
        layer_weights: tuple[float, float] = (0.1, 1.0)
        temperature: float = Field(0.07, ge=1 / COLDEST)

        @model_validator(mode="after")
        def _fits(self) -> Part.Config:
            needs = {"threshold": "sigma", "top_k": "k", "quantile": "q"}
            for way, name in needs.items():
                if (given := getattr(self, name) is not None) and way != self.sparsify:
                    raise ValueError(f"`{name}` goes with `sparsify: {way}`")
                if not given and way == self.sparsify != "threshold":
                    raise ValueError(f"`sparsify: {way}` needs `{name}`")
            if self.duplicate_above is not None and self.look_alikes == "negatives":
                raise ValueError("`duplicate_above` needs `look_alikes: excluded` or `positives`")
            if self.every_layer and {"patches", "tokens"} & self.model_fields_set:
                raise ValueError("`every_layer` takes the layers; leave out `patches` and `tokens`")
            if min(self.layer_weights) < 0 or sum(self.layer_weights) == 0:
                raise ValueError("`layer_weights` are not negative, and not both zero")
            return self

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        first = ("layer:1", "layer:1") if cfg.every_layer else (cfg.patches, cfg.tokens)
        self.levels: list[tuple[str, str]] = [first]
        self.maps = nn.ModuleList([nn.Identity()])
        self.log_scale = nn.Parameter(torch.tensor(-math.log(cfg.temperature)))

    def prepare(self, model: Any) -> None:
        """Build the maps between widths, and find the layers.

        Args:
            model: The dual encoder.
        """
        if self.cfg.every_layer:
            depths = (_depth(model.tower), model.text.depth)
            steps = range(1, max(depths) + 1)
            # A tower with fewer layers meets several of the other with each of its own.
            patches, tokens = ([-(-step * depth // len(steps)) for step in steps] for depth in depths)
            self.levels = [(f"layer:{p}", f"layer:{t}") for p, t in zip(patches, tokens, strict=True)]
        self.maps = nn.ModuleList(_map(model, *levels) for levels in self.levels)

    def forward(self, pairs: Pairs) -> Term:
        """The loss, with gradients to patches, tokens, maps and temperature.

        Args:
            pairs: Of this process; others do not matter.

        Returns:
            The term. Its gauges: `kept` is the mean number of patches that a token keeps, of `patches`;
            `flat` counts tokens to which all patches are alike, which take no part; `empty` texts without a
            token that takes part, `single` those with one, which have nothing to learn; `found` is the
            share of tokens that are told from the others. With `every_layer` they are the last layer's, and
            the value of each layer is there too.
        """
        with torch.no_grad():
            self.log_scale.clamp_(0.0, math.log(COLDEST))
        with no_halves(pairs.token_mask.device):
            found = [self._at(pairs, *at) for at in zip(self.levels, self.maps, strict=True)]
        weights = torch.ones(1)
        gauges = dict(found[-1].gauges)
        if self.cfg.every_layer:
            weights = torch.linspace(*self.cfg.layer_weights, len(found))
            gauges |= {f"layer_{i}": float(term.value.detach()) for i, term in enumerate(found, start=1)}
        shares = (weights / weights.sum()).tolist()
        value = sum((w * term.value for w, term in zip(shares, found, strict=True)), start=torch.zeros(()))
        chance = sum(w * term.chance for w, term in zip(shares, found, strict=True))
        return Term(value, chance, gauges)

    def _at(self, pairs: Pairs, levels: tuple[str, str], mapped: nn.Module) -> Term:
        """The loss of one pair of levels."""
        patches, tokens = pairs.patches(levels[0]), exact(pairs.tokens(levels[1]))
        real = pairs.token_mask.bool() if self.cfg.mask else torch.ones_like(pairs.token_mask).bool()
        order = pairs.clip_of.argsort(stable=True)
        text, place = real[order].nonzero(as_tuple=True)
        text = order[text]
        words = tokens[text, place]
        # Mapping the few tokens back gives the same similarities as mapping the many patches.
        queries = words @ exact(mapped.weight) if isinstance(mapped, nn.Linear) else words
        if queries.shape[-1] != patches.shape[-1]:
            raise ValueError(f"tokens are {queries.shape[-1]} wide and patches {patches.shape[-1]}: no map")
        groups, kept, flat = group(queries, pairs.clip_of[text], patches, self._keep)
        groups, seen, owner = mapped(groups), ~flat, text
        if self.cfg.across == "sample":
            groups, words, seen = (_spread(x, text, place, real) for x in (groups, words, seen))
            owner = torch.arange(len(real), device=text.device).unsqueeze(-1).expand_as(real)
        else:
            groups, words, seen, owner = (x.unsqueeze(0) for x in (groups, words, seen, owner))
        term = self._tell_apart(groups, words, self._choice(pairs, words.detach(), seen, owner))
        real_of = torch.bincount(text[~flat], minlength=len(real))
        gauges = {
            "kept": float(kept[~flat].double().mean()) if len(text) else 0.0,
            "patches": float(patches.shape[1]),
            "flat": float(flat.sum()),
            "empty": float((real_of == 0).sum()),
            "single": float((real_of == 1).sum()),
        }
        return Term(term.value, term.chance, {**term.gauges, **gauges})

    def _tell_apart(self, groups: Tensor, words: Tensor, choice: Choice) -> Term:
        """Cross-entropy both ways between groups and words, [G, K, C] each."""
        logits = exact(self.log_scale).exp() * _cosines(groups, words)
        both = [logits.flatten(0, 1), logits.transpose(1, 2).flatten(0, 1)]
        losses = [choice.mean(cross_entropy(way, choice)) for way in both]
        chance = choice.mean(cross_entropy(torch.zeros_like(both[0]), choice))
        hits = [choice.hits(way.detach()) for way in both]
        return Term((losses[0] + losses[1]) / 2, float(chance), {"found": sum(hits) / 2})

    def _choice(self, pairs: Pairs, words: Tensor, seen: Tensor, owner: Tensor) -> Choice:
        """What each of K tokens, in G sets, chooses among.

        Words are [G, K, C]; `seen` [G, K] says which of them take part, and `owner` [G, K] of
        which text they are.
        """
        same = torch.eye(words.shape[1], dtype=torch.bool, device=words.device).expand(len(words), -1, -1)
        near = torch.zeros_like(same)
        if self.cfg.duplicate_above is not None:
            near = (_cosines(words, words) > self.cfg.duplicate_above) & ~same
        kin = pairs.group[pairs.clip_of][owner]
        kin = (kin[:, :, None] == kin[:, None]) & (owner[:, :, None] != owner[:, None])
        allowed = seen[:, None].expand_as(same)
        share = same
        if self.cfg.look_alikes == "excluded":
            allowed = allowed & ~(near | kin)
        elif self.cfg.look_alikes == "positives":
            allowed, share = allowed & (near | ~kin), same | near
        weight = seen.to(words.dtype)
        if self.cfg.reduction == "sample":
            sizes = torch.bincount(owner[seen], minlength=len(pairs.clip_of))
            weight = weight / sizes.clamp_min(1)[owner]
        # A token that takes no part is no row either: it lacks its own column.
        return Choice(share.flatten(0, 1).to(words.dtype), allowed.flatten(0, 1), weight.flatten())

    def _keep(self, heights: Tensor) -> Tensor:
        """Which of the similarities [r, P], brought to 0..1, are kept."""
        count = heights.shape[-1]
        if self.cfg.k is not None:
            best = heights.topk(min(self.cfg.k, count), dim=-1).indices
            return torch.zeros_like(heights, dtype=torch.bool).scatter_(-1, best, True)
        if self.cfg.q is not None:
            return heights >= heights.quantile(self.cfg.q, dim=-1, keepdim=True)
        return heights >= (1 / count if self.cfg.sigma is None else self.cfg.sigma)


def _spread(x: Tensor, text: Tensor, place: Tensor, like: Tensor) -> Tensor:
    """Tokens in a row [R, ...] to their places in texts [M, L, ...]; zeros elsewhere."""
    return x.new_zeros(*like.shape, *x.shape[1:]).index_put_((text, place), x)


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """[G, K, C] each -> [G, K, K]; 0 with a vector of zeros. No vectors of unit length are made and kept."""
    of_a, of_b = (torch.linalg.vector_norm(x, dim=-1).clamp_min(1e-12) for x in (a, b))
    cosines: Tensor = a @ b.transpose(1, 2) / of_a.unsqueeze(-1) / of_b.unsqueeze(-2)
    return cosines


def _depth(tower: Any) -> int:
    """Layers of a video tower.

    Raises:
        ConfigError: If it shows none.
    """
    if not getattr(tower, "depth", 0):
        remedy = "use clip_vip, conv_vip or frame_vit"
        raise ConfigError("every_layer", "the video tower shows no layers", remedy)
    depth: int = tower.depth
    return depth


def _map(model: Any, patches: str, tokens: str) -> nn.Module:
    """From the width of patches to that of tokens."""
    shared = model.blueprint.width
    width_in = shared if patches == "projected" else model.tower.width
    width_out = shared if tokens == "projected" else model.text.width
    if width_in == width_out:
        return nn.Identity()
    linear = nn.Linear(width_in, width_out, bias=False)
    nn.init.orthogonal_(linear.weight)
    return linear


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(sparsify="top_k", k=2))
