"""A recipe before any of its work: all that can be checked is, and what its stages will see is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.formats import check
from vidapt.nouns import Sample
from vidapt.parts import import_modules, outside
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage, missing_files
from vidapt.training.align.aligning import Aligning
from vidapt.training.kind import Kind
from vidapt.training.ready import LabelFiles, Labels, StageData, aligns
from vidapt.training.state import has_finished, stage_folder
from vidapt.training.talking import Talking

Left = Mapping[str, tuple[int, Stage]]
"""Unfinished stages, with their places in the recipe, by their folders."""


@dataclass(frozen=True)
class Outlook:
    """A run just before its next stage.

    Attributes:
        kind: Of the model.
        recipe: What is carried out.
        model: What the next stage begins with; its weights need not be there.
        tokenizer: The model's.
        left: Stages that are not finished.
        data: What they see, by their folders.
    """

    kind: Kind
    recipe: Recipe
    model: Any
    tokenizer: Any
    left: Left
    data: Mapping[str, StageData]


def outlook(recipe: Recipe, report: Reporter) -> Outlook:
    """A recipe as it would be carried out from its beginning, without a weight being read.

    Raises:
        ConfigError: As `run.train`.
        FormatError: As `run.train`.
        CheckpointError: If the model to start from cannot be described.
    """
    kind, plan, labels = checked(recipe, None)
    model, tokenizer = kind.outline(recipe, texts_of(labels), plan)
    left = {stage_folder(index, stage): (index, stage) for index, stage in enumerate(recipe.stages)}
    data = made_ready(kind, labels, left, model, tokenizer, report)
    return Outlook(kind, recipe, model, tokenizer, left, data)


def checked(recipe: Recipe, run: Path | None) -> tuple[Kind, Any, list[Labels]]:
    """What kind of model a recipe trains, what its parts begin with, and the labels of its stages.

    Nothing it names is missing.

    Args:
        recipe: The recipe.
        run: Folder of its run. Once that has finished a stage, what it began with is not asked for.
    """
    absent = missing_files(recipe)
    if absent:
        raise ConfigError(
            "recipe",
            "files are missing:\n  " + "\n  ".join(map(str, absent)),
            "mend the paths or give --data",
        )
    import_modules(outside(recipe.model_dump()))
    kind: Kind = Aligning() if aligns(recipe) else Talking()
    plan = None if run is not None and has_finished(run) else kind.planned(recipe)
    files = LabelFiles()
    data = [files.labels(recipe, stage) for stage in recipe.stages]
    check(sample for one in data for sample in one.everything())
    return kind, plan, data


def texts_of(labels: Sequence[Labels]) -> list[str]:
    """What is said in all stages, each sample once."""
    samples: dict[int, Sequence[Sample]] = {id(one.samples): one.samples for one in labels}
    return [turn.text for some in samples.values() for sample in some for turn in sample.turns]


def made_ready(
    kind: Kind, labels: Sequence[Labels], left: Left, model: Any, tokenizer: Any, report: Reporter
) -> dict[str, StageData]:
    """Texts of unfinished stages as ids; stages that read the same of them share it."""
    made: dict[Any, StageData] = {}
    found: dict[str, StageData] = {}
    for name, (index, stage) in left.items():
        key = kind.reads(labels[index], stage)
        if key not in made:
            made[key] = kind.ready(labels[index], stage, model, tokenizer, report)
        found[name] = made[key]
    return found
