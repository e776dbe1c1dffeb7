"""Stages that several runs have in common are trained once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vidapt.files import write_folder, write_json
from vidapt.loading import RUN
from vidapt.measure.ablate.arms import stage_keys
from vidapt.measure.provenance import read_object
from vidapt.recipe import Recipe
from vidapt.training.begin import LOAD_REPORT
from vidapt.training.state import RunState, read_state, stage_folder

SHARED = "shared.json"
"""File of a run: which one it has its first stages from, and how many."""


def begin_with_finished(recipe: Recipe, runs: Path, others: Sequence[Recipe]) -> int:
    """Let a run that has not begun take the stages that another has finished and it would begin with, too.

    Models are linked, or copied where the disk has no links; nothing ever writes into one.

    Args:
        recipe: Of the run.
        runs: Where runs lie.
        others: Recipes of other runs, which may have begun.

    Returns:
        How many stages it has from another.

    Raises:
        CheckpointError: If another run is damaged.
        VidaptError: If the disk is full.
    """
    run = runs / recipe.name
    if (run / RUN).is_file():
        return int(read_object(run / SHARED).get("stages", 0))
    found = [(_shared(recipe, other, runs), other) for other in others if (runs / other.name / RUN).is_file()]
    count, donor = max(found, key=lambda one: one[0], default=(0, recipe))
    if count:
        _take(recipe, runs, donor, count)
    return count


def _shared(recipe: Recipe, other: Recipe, runs: Path) -> int:
    """How many first stages another run has finished that are those of a recipe."""
    state = read_state(runs / other.name, other, resume=True)
    finished = 0 if state is None else len(state.finished)
    pairs = zip(stage_keys(recipe), stage_keys(other)[:finished], strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(recipe.stages), finished))


def _take(recipe: Recipe, runs: Path, donor: Recipe, count: int) -> None:
    source = runs / donor.name
    state = read_state(source, donor, resume=True)
    assert state is not None
    names = [stage_folder(index, stage) for index, stage in enumerate(recipe.stages[:count])]
    with write_folder(runs / recipe.name) as folder:
        for name in names:
            shutil.copytree(source / name, folder / name, copy_function=_linked)
        write_json(folder / SHARED, {"from": donor.name, "stages": count})
        if (source / LOAD_REPORT).is_file():
            shutil.copy2(source / LOAD_REPORT, folder / LOAD_REPORT)
        RunState(
            recipe.fingerprint,
            recipe.settled,
            finished=names,
            stages={name: state.stages[name] for name in names},
            models={name: state.models[name] for name in names},
        ).write(folder)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
