"""What an alignment stage needs to be carried out: its objective, its batches and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.recipe import Stage
from vidapt.training.ahead import Item
from vidapt.training.align.batch import PairBatch
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.align.groups import group_numbers
from vidapt.training.align.measure import Measure
from vidapt.training.align.order import PairOrder
from vidapt.training.align.watch import ChanceWatch
from vidapt.training.footage import Footage
from vidapt.training.order import Visit, total_steps


@dataclass(frozen=True)
class Aligned:
    """The batches of an alignment stage.

    Attributes:
        stage: What the recipe says.
        model: What learns.
        footage: Its clips as tensors.
        clips: Usable ones, with their captions.
        groups: A number for each.
        order: Who takes part in which step.
        lessons: By name of a teacher, what it saw of the clips.
        tells_apart: Whether clips are compared with one another.
        usable: Visits of a step without those of broken clips.
    """

    stage: Stage
    model: DualEncoder
    footage: Footage
    clips: Sequence[ClipCaptions]
    groups: Sequence[int]
    order: PairOrder
    lessons: Mapping[str, Footage]
    tells_apart: bool
    usable: Callable[[int, Sequence[Visit]], Sequence[Visit]]

    def items(self, number: int) -> list[Item]:
        """What a step sees if no clip is broken."""
        return [(self.clips[visit.clip].media[0], 1) for visit in self.order.step(number)]

    @property
    def steps(self) -> int:
        """Of the whole stage."""
        return total_steps(self.stage, self.order)

    def batches(self, number: int) -> list[PairBatch]:
        """What a step sees; nothing if no clip is left, or clips to be told apart are of one group."""
        visits = self.usable(number, self.order.step(number))
        if not visits:
            return []
        if self.tells_apart and len({self.groups[visit.clip] for visit in visits}) == 1:
            return []
        tokens = self.stage.pairs.tokens
        return [PairBatch(self.model, self.footage, self.clips, self.groups, visits, tokens, self.lessons)]


def aligned(
    stage: Stage,
    model: DualEncoder,
    footage: Footage,
    clips: Sequence[ClipCaptions],
    seed: Sequence[int],
    *,
    lessons: Mapping[str, Footage],
    tells_apart: bool,
    usable: Callable[[int, Sequence[Visit]], Sequence[Visit]],
) -> Aligned:
    """Group the clips and put them in order.

    Raises:
        ConfigError: If clips are to be told apart and all of them are of one group.
    """
    groups = group_numbers(clips, stage.pairs)
    if tells_apart and len(set(groups)) == 1:
        raise ConfigError(
            f"stage {stage.name}",
            f"all of its {len(clips)} clips are of one group: nothing can be told apart",
            "give clips with other captions, or change `pairs.alike`",
        )
    order = PairOrder(clips, groups, stage.batching, stage.pairs, seed)
    return Aligned(stage, model, footage, clips, groups, order, lessons, tells_apart, usable)


def measure_of(
    stage: Stage,
    model: DualEncoder,
    tokenizer: Any,
    footage: Footage,
    sets: Mapping[str, Sequence[ClipCaptions]],
    folder: Path,
    card: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Measure | None:
    """What is measured every `save_every` steps; None if it names no sets."""
    if not sets:
        return None

    def save(best: Path, numbers: Mapping[str, Any]) -> None:
        save_dual(best, model, tokenizer, card(numbers))

    return Measure(model, footage, sets, stage.batching.clips, folder, save)


def watch_of(objective: nn.Module) -> ChanceWatch:
    """Watches an objective's terms as its configuration says."""
    cfg: Any = objective.cfg
    return ChanceWatch(cfg.near_chance, cfg.patience)
