"""What the terms of an alignment objective receive and return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.nouns import Features, Grid

LEVEL = r"^(embedding|layer:[1-9]\d*|encoder|projected)$"
"""What a level of a tower may be called."""


def _untaught(name: str) -> Features:
    raise ConfigError(f"teacher {name}", "nobody teaches in this step", "name the term's `teachers`")


@dataclass(frozen=True)
class Pairs:
    """What one step sees: N clips and M texts, each text about one clip.

    A level of a tower is named `embedding` (before the first layer), `layer:<i>` (after the i-th layer, from
    1 on), `encoder` (what comes out of the last layer, before the projection) or `projected`.

    Attributes:
        videos: [N, E], unit length, with gradient.
        texts: [M, E], unit length, with gradient.
        clip_of: [M] long, the clip that each text is about.
        group: [N] long; clips of one number are look-alikes, such as near-duplicates. Numbers hold across
            processes.
        scale: Scalar, the factor on cosines.
        token_mask: [M, L] bool, which tokens are real.
        patches: Level to [N, P, C_v].
        tokens: Level to [M, L, C_t].
        false_texts: [K, E], unit length: texts that say something wrong.
        false_of: [K] long, the text of which each is a falsified copy.
        grid: Of the patches that have a place; those without one stand in front of them.
        taught: Name of a teacher to what it saw of the N clips.
    """

    videos: Tensor
    texts: Tensor
    clip_of: Tensor
    group: Tensor
    scale: Tensor
    token_mask: Tensor
    patches: Callable[[str], Tensor]
    tokens: Callable[[str], Tensor]
    false_texts: Tensor | None = None
    false_of: Tensor | None = None
    grid: Grid | None = None
    taught: Callable[[str], Features] = _untaught


@dataclass(frozen=True)
class Term:
    """One summand of an alignment objective.

    Attributes:
        value: Scalar, with gradient.
        chance: What the value is when nothing has been learned, for the log; nan where there is no such
            number.
        gauges: Further numbers for the log.
    """

    value: Tensor
    chance: float = float("nan")
    gauges: Mapping[str, float] = field(default_factory=dict)
