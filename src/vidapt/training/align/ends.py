"""The two models that are interpolated between, of either kind: a run knows the one it began with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import exists
from vidapt.hub import Lack, open_dual_encoder
from vidapt.loading import RUN, compares, locate_dual, open_model
from vidapt.models.adapters import merged_model
from vidapt.recipe import Recipe, Stage
from vidapt.training.freeze import Model
from vidapt.training.ready import aligns
from vidapt.training.state import RECIPE


@dataclass(frozen=True)
class Ends:
    """Two dual encoders, or two video-language models, by name.

    Attributes:
        start: The one that was, named as in a recipe's `start`.
        tuned: What training made of it: a run, or a saved model.
        accept: What `start` may lack; see `recipe.Recipe`.
        run: Folder of the run that tuned it; None if it is in none.
        recipe: That run's.
    """

    start: str
    tuned: str
    accept: Collection[Lack] = ()
    run: Path | None = None
    recipe: Recipe | None = None

    @property
    def talk(self) -> bool:
        """Whether they answer in words.

        Raises:
            CheckpointError: If the tuned one is not there.
        """
        return not compares(self.tuned) if self.recipe is None else not aligns(self.recipe)

    def open(self) -> tuple[Model, Model, Any]:
        """Both models in evaluation mode, and the tuned one's tokenizer, which may be None.

        Adapters of language models are merged: what they add is part of what was learned.

        Raises:
            CheckpointError: If one of them cannot be opened.
        """
        if self.talk:
            return self._opened_to_talk()
        seed = 0 if self.recipe is None else self.recipe.seed
        first, _, _ = open_dual_encoder(locate_dual(self.start), accept=self.accept, seed=seed)
        second, tokenizer, _ = open_dual_encoder(locate_dual(self.tuned))
        return first, second, tokenizer

    def _opened_to_talk(self) -> tuple[Model, Model, Any]:
        first, words = open_model(self.start)
        if self.recipe is not None and self.recipe.reads is not None:
            first.read_otherwise(self.recipe.reads)
        second, tokenizer = open_model(self.tuned)
        return merged_model(first, words), merged_model(second, tokenizer), tokenizer

    @property
    def stage(self) -> Stage | None:
        """The run's last stage that was measured on sets."""
        stages = () if self.recipe is None else self.recipe.stages
        return next((stage for stage in reversed(stages) if stage.sets), None)


def ends_of(models: Sequence[str], accept: Collection[Lack] = ()) -> Ends:
    """What is between which.

    Args:
        models: The start and the tuned one; or the tuned one alone, if a run made it.
        accept: What the start may lack, besides what the run's recipe accepts.

    Raises:
        CheckpointError: If the run's recipe is not there or cannot be read.
        ConfigError: If there are not one or two, or the run does not know what it began with.
    """
    if len(models) not in (1, 2):
        raise ConfigError("interpolate", f"{len(models)} models are named", "give START and TUNED, or a run")
    tuned = models[-1]
    run = _run_of(Path(tuned))
    recipe = None if run is None else read_recipe(run)
    accepted = {*accept, *(() if recipe is None else recipe.accept)}
    start = models[0] if len(models) == 2 else _start_of(tuned, recipe)
    return Ends(start, tuned, accepted, run, recipe)


def read_recipe(run: Path) -> Recipe:
    """The recipe that a run carries out.

    Raises:
        CheckpointError: If it is not there or not understood, or names a part outside vidapt whose module
            has not been imported.
    """
    try:
        recipe = Recipe.model_validate_json((run / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(run / RECIPE, f"cannot be read: {reason}", "give a run's folder") from error
    parts.refuse_unimported(recipe.model_dump(), run / RECIPE)
    return recipe


def _run_of(path: Path) -> Path | None:
    """The run that a folder is, or that it is a model of: `RUN/STAGE/model`, `RUN/STAGE/best-...`."""
    place = path.absolute()
    return next((folder for folder in (place, *place.parents[1:2]) if exists(folder / RUN)), None)


def _start_of(tuned: str, recipe: Recipe | None) -> str:
    if recipe is None:
        raise ConfigError(
            tuned, "is no run's model, so what it was tuned from is not known", "give START before it"
        )
    if recipe.start is None:
        raise ConfigError(
            tuned,
            "was made from nothing: there is no model it was tuned from",
            "give START before it, such as the run of an earlier stage",
        )
    return recipe.start
