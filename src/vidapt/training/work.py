"""What a stage's loop is given to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from vidapt.recipe import Stage
from vidapt.training.log import Numbers
from vidapt.training.order import Visit
from vidapt.training.ranks import Ranks
from vidapt.training.room import Room
from vidapt.training.tracking import Trackers


def _nothing(numbers: Numbers) -> Numbers:
    """Watch nothing."""
    del numbers
    return {}


def _nobody(told: str) -> None:
    """Tell nobody."""
    del told


def _untracked(done: int) -> AbstractContextManager[Trackers]:
    """Track nowhere."""
    del done
    return nullcontext(Trackers(_nobody))


@dataclass(frozen=True)
class StageWork:
    """Everything a stage's loop needs.

    Attributes:
        stage: What the recipe says.
        index: Its place in the recipe.
        seed: The recipe's seed.
        folder: Where checkpoints and logs go.
        steps: How many there are.
        batches: What a step sees, counted from 0, in portions; none if nothing can be learned from it. Asked
            again about a step, it gives the same, in portions as `room` has them then.
        objective: Built and prepared.
        visits: Who takes part in a step, counted from 0, if no clip is broken.
        measure: Further numbers for the log after so many steps, asked for before the first step and whenever
            a checkpoint is due; it may put the model into evaluation mode.
        watch: Told of every logged step's numbers; returns more of them.
        note: What is to be told beside the loss.
        told: What the card of the trained model tells of its training beside that.
        changed: Numbers of the recipe that were changed at the step the stage goes on from, by place there.
        room: How many clips are computed together, where that is to be found; every batch then has a length.
        tell: Told of what a user should know at once.
        ranks: This process among others.
        trackers: Opens where numbers go beside the stage's own log, told of how many steps are done.
    """

    stage: Stage
    index: int
    seed: int
    folder: Path
    steps: int
    batches: Callable[[int], list[Any]]
    objective: nn.Module
    visits: Callable[[int], Sequence[Visit]]
    measure: Callable[[int], Numbers] | None = None
    watch: Callable[[Numbers], Numbers] = _nothing
    note: Callable[[], str] = str
    told: Mapping[str, Any] = field(default_factory=dict)
    changed: Numbers = field(default_factory=dict)
    room: Room | None = None
    tell: Callable[[str], None] = _nobody
    ranks: Ranks = field(default_factory=Ranks)
    trackers: Callable[[int], AbstractContextManager[Trackers]] = _untracked
