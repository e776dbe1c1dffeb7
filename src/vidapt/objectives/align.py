"""Bring clips and texts together: a sum of terms, each with its weight, its value and its chance level.

Source: CLIP-ViP (Xue et al. 2022, arXiv 2209.06430), which clamps its temperature after every step, and
SPARC (Bica et al. 2024, arXiv 2401.09865), which adds a local loss to the global one. Which terms there are,
at which levels of the towers they work and how much they weigh is the recipe's business, not the code's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.nouns import Features
from vidapt.objectives._contract import Loss
from vidapt.objectives._pairs import Pairs, Term
from vidapt.objectives._pairs_batch import PairsBatch
from vidapt.parts import PartConfig

OUTER = frozenset({"encoder", "projected"})
"""Levels of a tower that its features are enough for."""

_LAYER = "layer:"


class Part(nn.Module):
    """A weighted sum of terms over pairs of clips and texts.

    Args:
        cfg: The terms.

    Attributes:
        terms: By name.
        weights: By name.
        teachers: Frozen towers that terms learn from, by name.

    Raises:
        ConfigError: If a term is none, or two terms call different teachers by one name.
    """

    class Config(PartConfig):
        """The terms.

        Attributes:
            terms: Each with its `kind` and its own fields; `weight` is 1 and `name` its kind, if not given.
            proxies: Count a tower's tokens without a place (class token, video proxies) among the patches,
                in front of them.
            max_scale: The largest factor on cosines; the smallest is 1.
            near_chance: A term whose value stays within this share of its chance level ...
            patience: ... for so many logged steps is told of.
        """

        terms: tuple[dict[str, Any], ...] = Field(min_length=1)
        proxies: bool = False
        max_scale: float = Field(200.0, gt=1)
        near_chance: float = Field(0.02, ge=0, lt=1)
        patience: int = Field(20, ge=1)

        @field_validator("terms")
        @classmethod
        def _told_apart(cls, terms: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
            names = [_name(term) for term in terms]
            if len(set(names)) != len(names):
                raise ValueError(f"terms of one kind need a `name` each, got {names}")
            for term in terms:
                weight = term.get("weight", 1.0)
                number = isinstance(weight, int | float) and not isinstance(weight, bool)
                if not number or not 0 < weight < math.inf:
                    raise ValueError(f"the weight of {_name(term)!r} must be above 0, got {weight!r}")
            return terms

    columns: tuple[str, ...] = ()
    pairs = True
    """It learns from pairs, of a dual encoder."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.terms = nn.ModuleDict({_name(term): _built(term) for term in cfg.terms})
        self.weights = {_name(term): float(term.get("weight", 1.0)) for term in cfg.terms}
        self.teachers = self._faculty()

    @property
    def needs_views(self) -> bool:
        """Whether a term looks inside the video tower, so that its features are not enough."""
        return any(level not in OUTER for level, _ in self._levels())

    @property
    def tells_apart(self) -> bool:
        """Whether a term compares clips with one another, so that clips that look alike teach nothing."""
        return any(getattr(term, "tells_apart", True) for term in self._terms())

    def _faculty(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for term in self._terms():
            for name, teacher in getattr(term, "teachers", {}).items():
                # How much a term listens to a teacher does not make another one of it.
                teacher = teacher.model_copy(update={"weight": 1.0})
                if found.setdefault(name, teacher) != teacher:
                    raise ConfigError("terms", f"two teachers are called {name!r}", "give them other names")
        return found

    def introduce(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Let the terms that learn from a teacher make what they need for it.

        Args:
            name: One of `teachers`.
            mean: [C] of its features.
            std: [C], their deviation.
        """
        for term in self._terms():
            if name in getattr(term, "teachers", {}):
                term.introduce(name, mean, std)

    def _levels(self) -> list[tuple[str, str]]:
        return [at for term in self._terms() for at in getattr(term, "levels", ())]

    def _terms(self) -> list[Any]:
        return list(self.terms.values())

    def prepare(self, model: Any) -> None:
        """Let every term build what depends on the model's sizes.

        Raises:
            ConfigError: If the model has no text tower.
        """
        if not hasattr(model, "encode_text"):
            raise ConfigError(
                "objective align", "needs a dual encoder", "give the recipe `dual`, or `start` from one"
            )
        for term in self._terms():
            term.prepare(model)

    def forward(self, model: Any, batch: PairsBatch) -> Loss:
        """The weighted sum; the loss's parts are every term's value, chance level and gauges by name."""
        pairs = self.pairs_of(model, batch)
        found: dict[str, Term] = {name: term(pairs) for name, term in self.terms.items()}
        total = sum(
            (self.weights[name] * term.value for name, term in found.items()),
            start=pairs.videos.new_zeros(()),
        )
        return Loss(total, 1.0, {key: value for name in found for key, value in _told(name, found[name])})

    def pairs_of(self, model: Any, batch: PairsBatch) -> Pairs:
        """What the towers make of a step's clips and texts."""
        clips = _Clips(model, batch, inside=self.needs_views, proxies=self.cfg.proxies)
        count = len(batch.clip_of)
        false = len(batch.ids) > count and any(getattr(term, "reads_false", False) for term in self._terms())
        texts = _Texts(model, batch.ids if false else batch.ids[:count])
        vectors = texts.vectors()
        return Pairs(
            videos=model.stand_for(clips.features),
            texts=vectors[:count],
            clip_of=batch.clip_of,
            group=batch.group,
            scale=model.logit_scale.exp(),
            token_mask=batch.real[:count],
            patches=clips.at,
            tokens=lambda level: texts.at(level)[:count],
            false_texts=vectors[count:] if false else None,
            false_of=batch.false_of if false else None,
            grid=clips.features.grid,
            taught=lambda name: batch.taught(name),
        )

    @torch.no_grad()
    def after_step(self, model: Any) -> None:
        """Keep the factor on cosines between 1 and the largest."""
        model.logit_scale.clamp_(0.0, math.log(self.cfg.max_scale))


class _Clips:
    """What the video tower makes of N clips."""

    def __init__(self, model: Any, batch: PairsBatch, *, inside: bool, proxies: bool) -> None:
        self._model, self._proxies = model, proxies
        self._states: list[Tensor] | None = None
        if batch.features is not None:
            self.features = batch.features
            return
        views = batch.views
        assert views is not None
        if inside and hasattr(model.tower, "states"):
            self._states = list(model.tower.states(views))
            self._grid = model.tower.grid(views.shape[1], tuple(views.shape[-2:]))
            self.features = model.tower.features(self._states[-1], self._grid)
        else:
            self.features = model.tower(views)

    def at(self, level: str) -> Tensor:
        """[N, P, C] of a level."""
        if level == "encoder":
            return self._cells(self.features)
        if level == "projected":
            projected: Tensor = self._model.project_cells(self._cells(self.features))
            return projected
        if self._states is None:
            raise ConfigError(
                f"patches at {level!r}",
                "the video tower shows no layers, or only its kept features are there",
                "use clip_vip, conv_vip or frame_vit and `cache: {keep: frames}`, or the level `encoder`",
            )
        state = self._states[_index(level, len(self._states), "patches")]
        return self._cells(self._model.tower.features(state, self._grid))

    def _cells(self, features: Features) -> Tensor:
        cells = features.x.flatten(1, 3)
        if self._proxies and features.extra is not None:
            return torch.cat([features.extra, cells], dim=1)
        return cells


class _Texts:
    """What the text tower makes of texts."""

    def __init__(self, model: Any, ids: Tensor) -> None:
        self._model, self._ids = model, ids
        # Padding stands behind the end mark, where the causal tower cannot see it.
        layers: list[Tensor] = model.text.layers(ids)
        self._layers, self._last = layers[:-1], layers[-1]

    def vectors(self) -> Tensor:
        """[M, E] of unit length."""
        pooled: Tensor = self._model.text_projection(self._model.text.pool(self._last, self._ids))
        return F.normalize(pooled, dim=-1)

    def at(self, level: str) -> Tensor:
        """[M, L, C] of a level."""
        if level == "encoder":
            return self._last
        if level == "projected":
            projected: Tensor = self._model.text_projection(self._last)
            return projected
        return self._layers[_index(level, len(self._layers), "tokens")]


def _index(level: str, count: int, whose: str) -> int:
    """Place of a level in a list of the embedding and what each layer makes of it."""
    number = 0 if level == "embedding" else int(level.removeprefix(_LAYER))
    if not 0 <= number < count:
        raise ConfigError(f"{whose} at {level!r}", f"the tower has {count - 1} layers", "give a lower number")
    return number


def _name(term: Mapping[str, Any]) -> str:
    return str(term.get("name", term.get("kind", "")))


def _built(term: Mapping[str, Any]) -> nn.Module:
    """The part behind a term.

    Raises:
        ConfigError: If it is an objective of its own, and no term.
    """
    own = {key: value for key, value in term.items() if key not in ("name", "weight")}
    part = parts.build("objectives", own)
    if hasattr(part, "columns") or not isinstance(part, nn.Module):
        raise ConfigError("terms", f"{own['kind']!r} is an objective, no term of one", "give a term")
    return part


def _told(name: str, term: Term) -> list[tuple[str, float]]:
    """A term's numbers for the log; those that are no numbers are left out."""
    told = {name: float(term.value.detach()), f"{name}/chance": term.chance}
    told |= {f"{name}/{gauge}": value for gauge, value in term.gauges.items()}
    return [(key, float(value)) for key, value in told.items() if math.isfinite(value)]


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(terms=({"kind": "contrastive"},)))
