"""The recipes that are compared: one as it is, and others that lack a stage or differ in a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidapt.digests import digest
from vidapt.errors import ConfigError, nearest
from vidapt.recipe import Recipe, Stage, load_recipe
from vidapt.recipe.stage import LENGTHS

Change = Literal["base", "drop", "set"]


@dataclass(frozen=True)
class Arm:
    """One of the recipes, with every seed.

    Attributes:
        change: What it is, beside the recipe as it is.
        what: The stage it lacks, or the setting it has.
        recipe: With the first of the seeds.
        seeds: Of its runs.
    """

    change: Change
    what: str
    recipe: Recipe
    seeds: Sequence[int]

    @property
    def label(self) -> str:
        """For people."""
        return {"base": "as it is", "drop": f"without {self.what}", "set": self.what}[self.change]

    def runs(self) -> list[Recipe]:
        """The recipe with each seed, under a name that tells it from all others."""
        return [_named(self.recipe.model_copy(update={"seed": seed}), self.change) for seed in self.seeds]


def arms_of(
    path: Path,
    drops: Sequence[str],
    sets: Sequence[str],
    seeds: int,
    budget: float = 1.0,
    given: Mapping[str, str | Path] | None = None,
) -> list[Arm]:
    """The recipe as it is, then those without a stage, then those with a setting.

    Args:
        path: The recipe.
        drops: Names of stages.
        sets: `a.b.0.c=value` entries, each of which is an arm of its own.
        seeds: How many, counted from the recipe's.
        budget: Of every stage's length.
        given: Values by their places that all arms have.

    Raises:
        ConfigError: If a recipe has mistakes, a stage is not there or is the only one, a setting changes
            nothing, or there is nothing to compare.
    """
    if not drops and not sets:
        raise ConfigError(
            "ablate", "there is nothing to compare", "give --drop STAGE, --set KEY=VALUE, or both"
        )
    base = load_recipe(path, given=given)
    found: list[tuple[Change, str, Recipe]] = [("base", "", base)]
    found += [("drop", name, without(base, name)) for name in dict.fromkeys(drops)]
    found += [("set", text, load_recipe(path, [text], given=given)) for text in dict.fromkeys(sets)]
    every = range(base.seed, base.seed + seeds)
    arms = [Arm(change, what, shortened(recipe, budget, every[0]), every) for change, what, recipe in found]
    for arm in arms[1:]:
        if stage_keys(arm.recipe) == stage_keys(arms[0].recipe):
            raise ConfigError(f"--set {arm.what}", "changes nothing of what is trained", "give another value")
    return arms


def without(recipe: Recipe, name: str) -> Recipe:
    """A recipe without one of its stages.

    Raises:
        ConfigError: If it is not there, or the only one.
    """
    names = [stage.name for stage in recipe.stages]
    if name not in names:
        raise ConfigError(f"--drop {name}", "no stage is called so", nearest(name, names))
    if len(names) == 1:
        raise ConfigError(
            f"--drop {name}", "it is the only stage", "measure the model it starts from with `eval`"
        )
    return recipe.model_copy(update={"stages": tuple(one for one in recipe.stages if one.name != name)})


def shortened(recipe: Recipe, budget: float, seed: int) -> Recipe:
    """A recipe whose stages are `budget` times as long, with a seed."""
    stages = tuple(_shorter(stage, budget) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages, "seed": seed})


def _shorter(stage: Stage, budget: float) -> Stage:
    (name,) = (name for name in LENGTHS if getattr(stage, name) is not None)
    length = getattr(stage, name)
    less = max(1, round(length * budget)) if isinstance(length, int) else length * budget
    return stage.model_copy(update={name: less})


def stage_keys(recipe: Recipe) -> list[str]:
    """For each stage, what its model depends on: equal keys are one and the same training."""
    common: dict[str, Any] = recipe.model_dump(mode="json", exclude={"name", "stages", "data"})
    sources = [[one.model_dump(mode="json") for one in recipe.sources(stage)] for stage in recipe.stages]
    if recipe.start is None and recipe.tokenizer is None:
        common["tokenizer"] = sources  # it is learned from the labels of all stages
    stages = [
        {**stage.model_dump(mode="json"), "data": data}
        for stage, data in zip(recipe.stages, sources, strict=True)
    ]
    return [digest([common, stages[: place + 1]]) for place in range(len(stages))]


def _named(recipe: Recipe, change: Change) -> Recipe:
    key = stage_keys(recipe)[-1]
    return recipe.model_copy(update={"name": f"{change}-seed{recipe.seed}-{key[:8]}"})
