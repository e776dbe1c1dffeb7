"""Which clips and which of their questions each step sees: a function of the seed and the step alone.

Because nothing else decides it, a resumed run sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidapt.errors import ConfigError
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
    """Something that knows how many steps make an epoch, and what they see."""

    @property
    def steps_per_epoch(self) -> int:
        """How many."""
        ...

    def step(self, number: int) -> Sequence[Visit]:
        """Visits of a step, counted from 0."""
        ...


class Order:
    """The sequence of steps of a stage.

    An epoch visits every clip once; its steps differ in size by one clip at most.

    Args:
        clips: What there is.
        batching: How it is grouped.
        seed: Seeds of the run and of the stage.
        blind: Share of visits without the clip.
        rank: This process's number; it sees its share of the visits of every step.
        ranks: How many processes there are.

    Attributes:
        steps_per_epoch: Enough for every clip.
    """

    def __init__(
        self,
        clips: Sequence[ClipSamples],
        batching: Batching,
        seed: Sequence[int],
        blind: float = 0.0,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._mine = slice(rank, None, ranks)
        self._clips, self._batching, self._seed, self._blind = clips, batching, list(seed), blind
        self.steps_per_epoch = math.ceil(len(clips) / batching.clips)
        self._planned: tuple[int, list[np.ndarray]] = (-1, [])

    def step(self, number: int) -> list[Visit]:
        """Visits of a step, counted from 0."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if self._planned[0] != epoch:
            shuffled = np.random.default_rng([*self._seed, epoch]).permutation(len(self._clips))
            self._planned = (epoch, np.array_split(shuffled, self.steps_per_epoch))
        return [self._visit(int(clip), epoch) for clip in self._planned[1][place][self._mine]]

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


def total_steps(stage: Stage, order: Steps, tokens_of: Callable[[Visit], int] | None = None) -> int:
    """Steps of a stage, whichever way its length is given.

    Args:
        stage: What the recipe says. Of `hours`, which are settled by timing, one epoch stands for them.
        order: Its steps.
        tokens_of: How many tokens a visit is read in.

    Raises:
        ConfigError: If its length is given in tokens and nobody can count them.
    """
    if stage.steps is not None:
        return stage.steps
    if stage.samples is not None:
        return _until(stage.samples, order, lambda visit: len(visit.samples))
    if stage.tokens is not None:
        if tokens_of is None:
            raise ConfigError(
                f"stage {stage.name}, tokens", "cannot be counted here", "give `steps` or `epochs`"
            )
        return _until(stage.tokens, order, tokens_of)
    return max(1, math.ceil((1 if stage.epochs is None else stage.epochs) * order.steps_per_epoch))


def _until(wanted: int, order: Steps, worth: Callable[[Visit], int]) -> int:
    """How many steps it takes until the visits of all of them are worth as much as is wanted."""
    found = 0
    for number in itertools.count(1):
        found += sum(map(worth, order.step(number - 1)))
        if found >= wanted:
            return number
        if not found and number == order.steps_per_epoch:
            break
    raise ConfigError("data", "an epoch has nothing to learn from", "look at the run's quarantine.jsonl")
