"""What a plan tells of a stage, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """How numbers are distributed."""

    least: int
    median: float
    p95: float
    most: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Spread:
        """Of some numbers, of which there is one at least."""
        values = np.asarray(numbers)
        return cls(
            int(values.min()),
            float(np.median(values)),
            float(np.percentile(values, 95)),
            int(values.max()),
        )


@dataclass(frozen=True)
class Tokens:
    """What is read of clips and texts.

    Attributes:
        clip: Visual tokens that the language model reads of a clip of middling length; 0 for a dual encoder.
        frame: The same for each of its frames.
        sample: Tokens of a sample with its clips, if it were read alone.
        total: Tokens that the whole stage reads: a prefix that several samples share counts once.
        exact: Whether every step was counted; else some were, evenly spread.
    """

    clip: int
    frame: float
    sample: Spread
    total: int
    exact: bool


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the worst moment of a stage; `logits` are among the activations."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: features or frames of clips, the checkpoints at hand, the stage's models.

    These are its own, and the best by each set that it measures.
    """

    cache: int
    checkpoints: int
    model: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.cache + self.checkpoints + self.model


@dataclass(frozen=True)
class StagePlan:
    """What a stage will cost.

    Attributes:
        name: Of the stage.
        clips: That it learns from.
        samples: That it learns from.
        steps: That it takes.
        parts: Parameters of each part, and how many of them learn.
        tokens: What is read.
        flops: Operations of all steps; each product that is added counts two.
        fill_flops: Of what is computed once for each clip, and kept.
        memory: At the worst moment; None where a step cannot be foreseen.
        disk: What it takes there.
        kv_bytes: What the language model keeps of a clip while it answers questions about it.
        unknown: Why a step cannot be foreseen; empty if it can.
    """

    name: str
    clips: int
    samples: int
    steps: int
    parts: Mapping[str, tuple[int, int]]
    tokens: Tokens
    flops: float
    fill_flops: float
    memory: Memory | None
    disk: Disk
    kv_bytes: int
    unknown: str = ""

    @property
    def size(self) -> int:
        """Parameters in all."""
        return sum(count for count, _ in self.parts.values())

    @property
    def trained(self) -> int:
        """Parameters that learn."""
        return sum(learns for _, learns in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        memory = None if self.memory is None else {**asdict(self.memory), "total": self.memory.total}
        return {**asdict(self), "memory": memory, "disk": {**asdict(self.disk), "total": self.disk.total}}


@dataclass(frozen=True)
class Advice:
    """What somebody who has done it before would say.

    Attributes:
        id: What `--ignore` calls it.
        text: What was found, and what to do.
        source: Who says so.
        stage: Which stage it is about; empty where it is about all.
        error: Whether the recipe should not be carried out as it is.
    """

    id: str
    text: str
    source: str
    stage: str = ""
    error: bool = False


@dataclass(frozen=True)
class RecipePlan:
    """What a recipe will cost.

    Attributes:
        recipe: Its name.
        stages: Each stage.
        seconds: Of each stage, on the device that was asked for; empty where nobody knows.
        device: What that is, in words.
        price: What all of it costs, in the currency of the price that was given; None without one.
        advice: What to think over.
    """

    recipe: str
    stages: Sequence[StagePlan]
    seconds: Sequence[float] = ()
    device: str = ""
    price: float | None = None
    advice: Sequence[Advice] = field(default=())

    @property
    def errors(self) -> list[Advice]:
        """Advice that is no mere advice."""
        return [one for one in self.advice if one.error]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "recipe": self.recipe,
            "device": self.device,
            "seconds": list(self.seconds),
            "price": self.price,
            "stages": [stage.to_dict() for stage in self.stages],
            "advice": [asdict(one) for one in self.advice],
        }
