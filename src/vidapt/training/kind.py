"""What the two kinds of model that can be trained have to say for themselves: all else is done alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from vidapt.nouns import Clip
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training.eyes import Eyes
from vidapt.training.footage import Footage
from vidapt.training.order import Visit
from vidapt.training.ready import Labels, StageData
from vidapt.training.stage import StageWork


@dataclass(frozen=True)
class Prepared:
    """A stage whose clips are ready, just before its first step.

    Attributes:
        stage: What the recipe says.
        index: Its place in the recipe.
        seed: The recipe's.
        folder: Where its work and model go.
        model: What learns.
        tokenizer: The model's.
        objective: Built and prepared.
        footage: Its clips as tensors.
        data: Usable clips and their texts.
        lessons: By name of a teacher, what it saw of the clips.
        card: Numbers to what a saved model's card tells.
        set_aside: Writes down clips that cannot be used.
    """

    stage: Stage
    index: int
    seed: int
    folder: Path
    model: Any
    tokenizer: Any
    objective: nn.Module
    footage: Footage
    data: StageData
    lessons: Mapping[str, Footage]
    card: Callable[[Mapping[str, Any]], dict[str, Any]]
    set_aside: Callable[[Mapping[Clip, str]], None]

    def usable(self, step: int, visits: Sequence[Visit]) -> list[Visit]:
        """Visits of a step without those whose clips turn out to be broken, which are written down.

        Whatever breaks a clip breaks it at every visit, so that a resumed run sees the same.
        """
        broken = self.footage.begin(step)
        if broken:
            self.set_aside(broken)
        return [one for one in visits if broken.keys().isdisjoint(self.data.clips[one.clip].media)]


class Kind(Protocol):
    """A kind of model: `talking.Talking`, `align.aligning.Aligning`."""

    def planned(self, recipe: Recipe) -> Any:
        """Look at what a recipe begins with, before any work: nothing it names is missing or does not fit.

        Returns:
            What its parts begin with, if it takes others' weights; else None.

        Raises:
            CheckpointError: If there is no such model to start from.
            ConfigError: Listing what is wrong with the parts.
        """

    def begin(self, recipe: Recipe, texts: Iterable[str], run: Path, plan: Any) -> tuple[Any, Any]:
        """The model and the tokenizer that a recipe begins with.

        Args:
            recipe: The recipe.
            texts: What a tokenizer is learned from, if one has to be.
            run: Folder of the run, in which is kept what became of every tensor.
            plan: As `planned` gave it.

        Raises:
            CheckpointError: If a model cannot be opened.
            ConfigError: If what the run began with has changed since.
        """
        ...

    def outline(self, recipe: Recipe, texts: Iterable[str], plan: Any) -> tuple[Any, Any]:
        """What `begin` makes, for its sizes alone: its weights need not be there.

        Raises:
            CheckpointError: If a model cannot be described.
        """
        ...

    def resume(self, run: Path) -> tuple[Any, Any]:
        """The model that the last finished stage of a run left, and its tokenizer."""
        ...

    def reads(self, labels: Labels, stage: Stage) -> Hashable:
        """What `ready` depends on beside the model: stages for which it is equal may share it."""
        ...

    def ready(self, labels: Labels, stage: Stage, model: Any, tokenizer: Any, report: Reporter) -> StageData:
        """A stage's texts as ids; what becomes of them is told.

        Raises:
            ConfigError: If no text is left.
            FormatError: If an answer is too long, there is none, or a statement has not its form.
        """
        ...

    def eyes(self, model: Any) -> Eyes:
        """The model as `Footage` looks through it."""
        ...

    def learning(self, stage: Stage) -> list[str]:
        """Names of the rates by which something of a stage learns."""
        ...

    def work(self, prepared: Prepared) -> StageWork:
        """Steps and batches of a stage."""
        ...

    def save(self, folder: Path, model: Any, tokenizer: Any, card: Mapping[str, Any]) -> None:
        """Write a model's folder in one step."""
