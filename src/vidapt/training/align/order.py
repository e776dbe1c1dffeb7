"""Which clips and captions each step sees, so that an epoch covers every caption and look-alikes keep apart.

Like `training.order`, a function of the seed and the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vidapt.recipe import Batching, Pairing
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.order import Visit


class PairOrder:
    """The sequence of steps of an alignment stage.

    A clip with more captions than a step may take of it is visited several times an epoch, each time with
    others. Steps of one epoch differ in size by one visit at most.

    Args:
        clips: What there is.
        groups: A number for each clip; clips of one number look alike.
        batching: How many clips, and captions of each, a step takes.
        pairing: Where look-alikes go.
        seed: Seeds of the run and of the stage.

    Attributes:
        steps_per_epoch: Enough for every visit.
    """

    def __init__(
        self,
        clips: Sequence[ClipCaptions],
        groups: Sequence[int],
        batching: Batching,
        pairing: Pairing,
        seed: Sequence[int],
    ) -> None:
        self._clips, self._groups, self._batching, self._pairing = clips, groups, batching, pairing
        self._seed = list(seed)
        limit = batching.questions
        self._visits_of = [1 if limit is None else math.ceil(len(clip.ids) / limit) for clip in clips]
        self.steps_per_epoch: int = math.ceil(sum(self._visits_of) / batching.clips)
        self._planned: tuple[int, list[list[Visit]]] = (-1, [])

    def step(self, number: int) -> list[Visit]:
        """Visits of a step, counted from 0."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return self._planned[1][place]

    def _plan(self, epoch: int) -> list[list[Visit]]:
        """The steps of an epoch."""
        rng = np.random.default_rng([*self._seed, epoch])
        clusters: dict[int, list[Visit]] = {}
        for clip in rng.permutation(len(self._clips)).tolist():
            cluster = clip if self._pairing.batches == "any" else self._groups[clip]
            clusters.setdefault(cluster, []).extend(self._visits(clip, epoch))
        visits = [visit for members in clusters.values() for visit in members]
        count = self.steps_per_epoch
        if self._pairing.batches == "together":
            bounds = np.linspace(0, len(visits), count + 1).round().astype(int).tolist()
            steps = [visits[a:b] for a, b in pairwise(bounds)]
        else:
            # Neighbours go to different steps: no other way keeps members of a cluster further apart.
            steps = [visits[place::count] for place in range(count)]
        return [steps[place] for place in rng.permutation(count).tolist()]

    def _visits(self, clip: int, epoch: int) -> list[Visit]:
        """A clip's captions, dealt out to its visits."""
        rng = np.random.default_rng([*self._seed, epoch, clip])
        dealt = np.array_split(rng.permutation(len(self._clips[clip].ids)), self._visits_of[clip])
        return [Visit(clip, self._taking(clip, captions.tolist(), rng)) for captions in dealt]

    def _taking(self, clip: int, captions: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """Those that take part, as `share` has it; one at least."""
        share, types = self._batching.share, self._clips[clip].types
        luck = rng.random(len(captions))
        taking = [c for c, one in zip(captions, luck, strict=True) if one < share.get(str(types[c]), 1.0)]
        return tuple(sorted(taking or captions[:1]))
