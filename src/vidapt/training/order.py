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
from vidapt.training.strata import Stratum, Visits, cut, one_stratum


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

    An epoch visits every clip once, unless sources are mixed in another way; its steps differ in size by one
    clip at most. Clips of different buckets never share a step; steps of all buckets come in random order.

    Args:
        clips: What there is.
        batching: How it is grouped.
        seed: Seeds of the run and of the stage.
        blind: Share of visits without the clip.
        rank: This process's number; it sees its share of the visits of every step.
        ranks: How many processes there are.
        strata: How often which clips are visited, and their buckets; None visits all alike.
        lengths: Tokens of every clip, where steps are to be of like length.

    Attributes:
        steps_per_epoch: Enough for every visit.
    """

    def __init__(
        self,
        clips: Sequence[ClipSamples],
        batching: Batching,
        seed: Sequence[int],
        blind: float = 0.0,
        strata: Sequence[Stratum] | None = None,
        lengths: np.ndarray | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._mine = slice(rank, None, ranks)
        self._clips, self._batching, self._seed, self._blind = clips, batching, list(seed), blind
        self._mixed = strata is not None
        given = one_stratum(len(clips)) if strata is None else strata
        self._buckets = [
            Visits([one for one in given if one.bucket == bucket], self._seed, batching.clips, lengths)
            for bucket in sorted({one.bucket for one in given})
        ]
        self.steps_per_epoch = sum(bucket.steps for bucket in self._buckets)
        self._phases: list[tuple[int, Visits]] | None = None

    def follow_one_another(self, steps: int) -> None:
        """Have buckets come one after another, from the first to the last, instead of mixed.

        Args:
            steps: Those of the stage; each bucket has its share of them.
        """
        ends = np.cumsum([bucket.steps for bucket in self._buckets])
        places = [round(int(end) * steps / self.steps_per_epoch) for end in ends]
        self._phases = list(zip([0, *places], self._buckets, strict=False))

    def step(self, number: int) -> list[Visit]:
        """Visits of a step, counted from 0; a clip of which nothing can be learned is left out."""
        bucket, epoch, place = self._place(number)
        order = bucket.epoch(epoch)
        first, end = cut(len(order), bucket.steps, place)
        made = (self._visit(int(order[at]), epoch, at) for at in range(first, end)[self._mine])
        return [visit for visit in made if visit is not None]

    def _place(self, number: int) -> tuple[Visits, int, int]:
        """Bucket of a step, the epoch, and the step's place in the bucket's epoch."""
        if self._phases is not None:
            start, bucket = [phase for phase in self._phases if phase[0] <= number][-1]
            return bucket, *divmod(number - start, bucket.steps)
        epoch, place = divmod(number, self.steps_per_epoch)
        if len(self._buckets) > 1:
            rng = np.random.default_rng([*self._seed, epoch, _STEPS])
            place = int(rng.permutation(self.steps_per_epoch)[place])
        for bucket in self._buckets:
            if place < bucket.steps:
                return bucket, epoch, place
            place -= bucket.steps
        raise IndexError(number)

    def _visit(self, clip: int, epoch: int, at: int) -> Visit | None:
        samples = self._clips[clip].samples
        if not samples:
            return None
        # A clip that is visited twice in an epoch is asked other questions the second time.
        rng = np.random.default_rng([*self._seed, epoch, clip, *([at] if self._mixed else [])])
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


_STEPS = 1 << 40
"""Behind the seeds and the epoch: the order of steps, and not what a clip is asked."""


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
