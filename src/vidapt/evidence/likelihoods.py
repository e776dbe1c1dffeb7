"""How likely answers are with their clip and without it, token by token; several clips together.

Source: the contrast of a model with and without the image as in CAL (Xiao et al. 2024, arXiv 2405.17871). As
in training, a clip stands once in front of all its answers, and "without" is the same question alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
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

_HEAD_ROWS = 256
"""Labels per call of the head; bounds the memory of large vocabularies."""

_POSITIONS = 32_768
"""Positions, padding included, that are computed together where that is more than one clip's."""


@dataclass(frozen=True)
class Logs:
    """Log-probabilities of a conversation's labels, [labels] each.

    Attributes:
        own: Of the labels' tokens.
        rival: Of the likeliest other token in the place of each with the clip.
        ids: [labels] long, these tokens.
    """

    own: Tensor
    rival: Tensor
    ids: Tensor


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

    def with_clips(self, seen: Sequence[SeenClip], rows: Sequence[Sequence[Sample]]) -> list[list[Logs]]:
        """Of each clip and each conversation about it.

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
        found = iter(self._of(groups, [seen[number].tokens for number, _ in places], None))
        each: list[list[Logs | None]] = [[None] * len(samples) for samples in rows]
        for number, members in places:
            for at in members:
                own, rival, ids = next(found)
                each[number][at] = Logs(own, rival.squeeze(1), ids.squeeze(1))
        return [[one for one in some if one is not None] for some in each]

    def without(self, samples: Sequence[Sample], rivals: Sequence[Tensor]) -> list[Logs]:
        """Of each conversation, the same without its clips; equal ones are read once.

        Args:
            samples: Conversations.
            rivals: Of each, [labels] tokens whose log-probabilities are wanted beside those of the labels.
        """
        encoded = [self.encoded(without_clips(sample)) for sample in samples]
        members: dict[tuple[int, ...], list[int]] = {}
        for at, one in enumerate(encoded):
            members.setdefault(one.ids, []).append(at)
        unique = [encoded[some[0]] for some in members.values()]
        asked = [torch.stack([rivals[at] for at in some], dim=1) for some in members.values()]
        groups = [
            Group(tuple(unique[start : start + _TOGETHER]), ()) for start in range(0, len(unique), _TOGETHER)
        ]
        found: dict[int, Logs] = {}
        for some, (own, rival, _) in zip(members.values(), self._of(groups, None, asked), strict=True):
            found |= {at: Logs(own, rival[:, k], rivals[at]) for k, at in enumerate(some)}
        return [found[at] for at in range(len(samples))]

    def _of(
        self, groups: Sequence[Group], visual: Sequence[Tensor] | None, asked: Sequence[Tensor] | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of every sample of all groups, in their order; see `_computed`."""
        first = 0
        for some in self._portions(groups):
            members = [groups[at] for at in some]
            tokens = None if visual is None else torch.cat([visual[at] for at in some])
            count = sum(len(group.encoded) for group in members)
            yield from self._computed(
                members, tokens, None if asked is None else asked[first : first + count]
            )
            first += count

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
    def _computed(
        self, groups: Sequence[Group], visual: Tensor | None, asked: Sequence[Tensor] | None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of every sample: [labels] of its labels; [labels, k] of other tokens, and these.

        Args:
            groups: Rows of the batch.
            visual: Tokens of their clips.
            asked: Of each sample, [labels, k] other tokens; None takes the likeliest one.
        """
        model = self._engine.model
        packed = pack(groups, model.positions)
        refuse_packed(model, packed)
        packed = packed.to(model.device)
        states = model.states(packed, visual)
        width = 1 if asked is None else max((one.shape[1] for one in asked), default=1)
        others = torch.zeros(len(packed.labels), width, dtype=torch.long, device=model.device)
        counts = [one.labels for group in groups for one in group.encoded]
        starts = [0, *itertools.accumulate(counts)]
        for start, one in zip(starts, asked or (), strict=False):
            others[start : start + len(one), : one.shape[1]] = one.to(model.device)
        own, rival = [], []
        for at in range(0, len(packed.labels), _HEAD_ROWS):
            rows = slice(at, at + _HEAD_ROWS)
            labels = packed.labels[rows].unsqueeze(1)
            logs = model.head(states[rows]).log_softmax(-1)
            own.append(logs.gather(1, labels).squeeze(1))
            if asked is None:
                others[rows] = logs.scatter(1, labels, -torch.inf).argmax(-1, keepdim=True)
            rival.append(logs.gather(1, others[rows]))
        columns = (torch.cat(own).double().cpu(), torch.cat(rival).double().cpu(), others.cpu())
        return list(zip(*(torch.split(one, counts) for one in columns), strict=True))


def _alike(encoded: Sequence[Encoded]) -> Iterator[list[int]]:
    """Indices of samples that can stand behind one copy of their clip."""
    order = sorted(range(len(encoded)), key=lambda at: (repr((encoded[at].prefix, encoded[at].early)), at))
    for _, group in itertools.groupby(order, key=lambda at: (encoded[at].prefix, encoded[at].early)):
        members = list(group)
        yield from (members[start : start + _TOGETHER] for start in range(0, len(members), _TOGETHER))
