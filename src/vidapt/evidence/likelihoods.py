"""How likely answers are with their clip and without it, token by token; several clips together.

Source: the contrast of a model with and without the image as in CAL (Xiao et al. 2024, arXiv 2405.17871). As
in training, a clip stands once in front of all its answers, and "without" is the same question alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.packed import Group, pack, reading_length
from vidapt.models.reach import refuse_packed
from vidapt.models.text import Encoded, encode
from vidapt.nouns import Sample
from vidapt.training.data import without_clips

_TOGETHER = 64
"""Answers behind one copy of a clip, and answers without clips that are read together."""

_HEAD_ROWS = 1024
"""Labels per call of the head; bounds the memory of large vocabularies."""

_POSITIONS = 32_768
"""Positions, padding included, that are computed together where that is more than one clip's."""


class Likelihoods:
    """Log-probabilities of answers under a model.

    Args:
        engine: The model.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._prompt = engine, engine.model.blueprint.prompt

    def encoded(self, sample: Sample) -> Encoded:
        """A conversation as ids."""
        return encode(sample, self._prompt, self._engine.tokenizer)

    def with_clips(self, seen: Sequence[SeenClip], rows: Sequence[Sequence[Sample]]) -> list[list[Tensor]]:
        """Of each clip and each conversation about it, [labels] log-probabilities.

        Args:
            seen: The clips.
            rows: Of each, the conversations; other clips may stand in their place.
        """
        groups: list[Group] = []
        places: list[tuple[int, list[int]]] = []
        for number, (clip, samples) in enumerate(zip(seen, rows, strict=True)):
            encoded = [self.encoded(sample) for sample in samples]
            readings = self._engine.readings([clip])
            for members in _alike(encoded):
                groups.append(Group(tuple(encoded[at] for at in members), readings))
                places.append((number, members))
        found = iter(self._of(groups, [seen[number].tokens for number, _ in places]))
        each: list[list[Tensor]] = [[torch.empty(0)] * len(samples) for samples in rows]
        for number, members in places:
            for at in members:
                each[number][at] = next(found)
        return each

    def without(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Of each conversation, the same without its clips; equal ones are computed once."""
        encoded = [self.encoded(without_clips(sample)) for sample in samples]
        unique = list({one.ids: one for one in encoded}.values())
        groups = [
            Group(tuple(unique[start : start + _TOGETHER]), ()) for start in range(0, len(unique), _TOGETHER)
        ]
        known = dict(zip((one.ids for one in unique), self._of(groups, None), strict=True))
        return [known[one.ids] for one in encoded]

    def _of(self, groups: Sequence[Group], visual: Sequence[Tensor] | None) -> Iterator[Tensor]:
        """[labels] of every sample of all groups, in their order."""
        for some in self._portions(groups):
            members = [groups[at] for at in some]
            tokens = None if visual is None else torch.cat([visual[at] for at in some])
            yield from self._computed(members, tokens)

    def _portions(self, groups: Sequence[Group]) -> Iterator[list[int]]:
        """Groups that are computed together, by their order alone."""
        some: list[int] = []
        widest = 0
        for at, group in enumerate(groups):
            length = sum(len(one.ids) for one in group.encoded) + sum(map(reading_length, group.clips))
            if some and max(widest, length) * (len(some) + 1) > _POSITIONS:
                yield some
                some, widest = [], 0
            some, widest = [*some, at], max(widest, length)
        if some:
            yield some

    @torch.inference_mode()
    def _computed(self, groups: Sequence[Group], visual: Tensor | None) -> list[Tensor]:
        model = self._engine.model
        packed = pack(groups, model.positions)
        refuse_packed(model, packed)
        packed = packed.to(model.device)
        states = model.states(packed, visual)
        pairs = zip(torch.split(states, _HEAD_ROWS), torch.split(packed.labels, _HEAD_ROWS), strict=True)
        logs = torch.cat([-F.cross_entropy(model.head(s), labels, reduction="none") for s, labels in pairs])
        counts = [one.labels for group in groups for one in group.encoded]
        return list(torch.split(logs.double().cpu(), counts))


def _alike(encoded: Sequence[Encoded]) -> Iterator[list[int]]:
    """Indices of samples that can stand behind one copy of their clip."""
    order = sorted(range(len(encoded)), key=lambda at: (repr((encoded[at].prefix, encoded[at].early)), at))
    for _, group in itertools.groupby(order, key=lambda at: (encoded[at].prefix, encoded[at].early)):
        members = list(group)
        yield from (members[start : start + _TOGETHER] for start in range(0, len(members), _TOGETHER))
