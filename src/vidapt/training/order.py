"""Which clips and which of their questions each step sees: a function of the seed and the step alone.

Because nothing else decides it, a resumed run sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidapt.recipe import Batching, Stage
from vidapt.training.data import ClipSamples


@dataclass(frozen=True)
class Visit:
    """A clip's turn in a step.

    Attributes:
        clip: Its index.
        samples: Indices of its samples that take part.
        blind: Whether they are asked without the clip.
    """

    clip: int
    samples: tuple[int, ...]
    blind: bool = False


class Steps(Protocol):
    """Something that knows how many steps make an epoch."""

    @property
    def steps_per_epoch(self) -> int:
        """How many."""
        ...


class Order:
    """The sequence of steps of a stage.

    An epoch visits every clip once; its steps differ in size by one clip at most.

    Args:
        clips: What there is.
        batching: How it is grouped.
        seed: Seeds of the run and of the stage.
        blind: Share of visits without the clip.

    Attributes:
        steps_per_epoch: Enough for every clip.
    """

    def __init__(
        self, clips: Sequence[ClipSamples], batching: Batching, seed: Sequence[int], blind: float = 0.0
    ) -> None:
        self._clips, self._batching, self._seed, self._blind = clips, batching, list(seed), blind
        self.steps_per_epoch = math.ceil(len(clips) / batching.clips)
        self._planned: tuple[int, list[np.ndarray]] = (-1, [])

    def step(self, number: int) -> list[Visit]:
        """Visits of a step, counted from 0."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if self._planned[0] != epoch:
            shuffled = np.random.default_rng([*self._seed, epoch]).permutation(len(self._clips))
            self._planned = (epoch, np.array_split(shuffled, self.steps_per_epoch))
        return [self._visit(int(clip), epoch) for clip in self._planned[1][place]]

    def _visit(self, clip: int, epoch: int) -> Visit:
        samples = self._clips[clip].samples
        rng = np.random.default_rng([*self._seed, epoch, clip])
        luck = rng.random(len(samples))
        share = self._batching.share
        taking = [i for i, s in enumerate(samples) if luck[i] < share.get(str(s.facts.get("type")), 1.0)]
        if not taking:
            taking = [int(rng.integers(len(samples)))]
        limit = self._batching.questions
        if limit is not None and len(taking) > limit:
            taking = [taking[i] for i in sorted(rng.choice(len(taking), limit, replace=False))]
        # Drawn last, so that what is asked does not depend on it.
        return Visit(clip, tuple(taking), blind=bool(rng.random() < self._blind))


def total_steps(stage: Stage, order: Steps) -> int:
    """Steps of a stage: as given, or its epochs in steps."""
    return (
        stage.steps
        if stage.steps is not None
        else max(1, math.ceil((stage.epochs or 0) * order.steps_per_epoch))
    )
