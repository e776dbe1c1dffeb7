"""Recipe to run: the stages in order, each from the folder the one before it left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import check_folder, write_json, write_text
from vidapt.formats import check, fingerprint
from vidapt.loading import RUN, usable_device
from vidapt.parts import import_modules, outside
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, missing_files
from vidapt.training.align import teachers
from vidapt.training.align.aligning import Aligning
from vidapt.training.begin import LOAD_REPORT
from vidapt.training.kind import Kind
from vidapt.training.ready import Labels, aligns, read_labels
from vidapt.training.stage_run import StageRun, stage_folder
from vidapt.training.talking import Talking

RECIPE = "recipe.json"
_BEGUN = (RECIPE, LOAD_REPORT)
"""What a run's folder may hold of an attempt that was refused before work began."""


@dataclass
class RunState:
    """What `run.json` holds.

    Attributes:
        recipe: Fingerprint of the recipe the run began with, which all its cards tell.
        settled: Fingerprint of the one in `recipe.json`, its paths as they are used; None in older runs.
        data: Fingerprint of the labels; None in runs that did not yet write it down.
        finished: Folders of the finished stages, in order.
        stages: Steps, seconds and loss of each.
    """

    recipe: str
    settled: str | None = None
    data: str | None = None
    finished: list[str] = field(default_factory=list)
    stages: dict[str, Any] = field(default_factory=dict)


def train(
    recipe: Recipe,
    runs: Path,
    report: Reporter,
    *,
    resume: bool = False,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Carry out a recipe.

    Everything that can be checked is checked before work begins: the models that parts begin with, label
    files, their media and their answers' lengths. Once a stage is finished, what the run began with is not
    needed any more.

    Args:
        recipe: What to do.
        runs: The run's folder is made in here.
        report: Shows progress.
        resume: Go on with an interrupted run of the same recipe.
        workers: Decoding processes; None is one per core.
        device: Where to train.

    Returns:
        The run's folder.

    Raises:
        ConfigError: If files are missing, a part of the user's own cannot be imported, a part does not fit
            the weights it is to begin with, or the folder exists and is not to be resumed.
        FormatError: If a label file is unsound, or media are missing.
        CheckpointError: If the model to start from cannot be opened.
        VidaptError: If the run's folder cannot be written.
        KeyboardInterrupt: After Ctrl-C; what is done is saved and `resume` goes on from it.
    """
    run = runs / recipe.name
    check_folder(run)
    kind, plan, data = _checked(recipe, run)
    state = _read_state(run, recipe, data, resume=resume)
    recipe = recipe.known_as(state.recipe)
    model, tokenizer = _starting_point(kind, recipe, run, state, data, plan)
    place = _place(device, recipe)
    model.to(place)
    stages = [
        kind.ready(labels, stage, model, tokenizer, report)
        for labels, stage in zip(data, recipe.stages, strict=True)
    ]
    taught = {
        name: teachers.open_teachers(stage.objective, model.blueprint.frames, place)
        for index, stage in enumerate(recipe.stages)
        if (name := stage_folder(index, stage)) not in state.finished
    }
    count = os.cpu_count() or 1 if workers is None else workers
    write_text(run / RECIPE, recipe.to_json() + "\n")
    write_json(run / RUN, asdict(state))
    for index, stage in enumerate(recipe.stages):
        name = stage_folder(index, stage)
        if name in state.finished:
            continue
        work = StageRun(kind, recipe, index, run, stages[index], report, count, taught[name])
        state.stages[name] = work.carry_out(model, tokenizer)
        state.finished.append(name)
        write_json(run / RUN, asdict(state))
        _drop_checkpoints(run / name)
    return run


def _checked(recipe: Recipe, run: Path) -> tuple[Kind, Any, list[Labels]]:
    """What kind of model a recipe trains, what its parts begin with, and the labels of its stages.

    Nothing it names is missing.
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
    plan = None if _has_finished(run) else kind.planned(recipe)
    data = [read_labels(recipe, stage) for stage in recipe.stages]
    check([sample for one in data for sample in one.everything()])
    return kind, plan, data


def _has_finished(run: Path) -> bool:
    """Whether a stage of a run is finished, with which it goes on; a damaged run is looked at later."""
    try:
        return bool(json.loads((run / RUN).read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _place(device: str, recipe: Recipe) -> torch.device:
    """Where to train."""
    place = usable_device(device)
    flex = [stage.name for stage in recipe.stages if stage.batching.flex]
    if flex and place.type != "cuda":
        raise ConfigError(
            f"stage {flex[0]}, batching.flex",
            f"FlexAttention cannot train on {device!r}",
            "leave it out, or train on CUDA",
        )
    return place


def _read_state(run: Path, recipe: Recipe, data: Sequence[Labels], *, resume: bool) -> RunState:
    """Where the run stands; a new state if its folder is not there or was only just begun."""
    labels = fingerprint(sample for one in data for sample in one.everything())
    file = run / RUN
    if not file.exists():
        if run.exists() and any(
            path.name not in _BEGUN and not path.name.startswith(".") for path in run.iterdir()
        ):
            raise ConfigError(run, "exists and is not a run", "choose another `name` or folder")
        return RunState(recipe.fingerprint, recipe.settled, labels)
    try:
        state = RunState(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            file, f"is damaged: {error}", "delete the run's folder and train again"
        ) from error
    if not resume:
        raise ConfigError(run, "this run exists", "add --resume to go on with it, or choose another `name`")
    known = (state.recipe, state.settled)
    if recipe.fingerprint not in known and recipe.settled not in known:
        raise ConfigError(
            run,
            "was made by another version of the recipe",
            f"use {run / RECIPE}, give every --set as before, or choose another `name`",
        )
    if state.data not in (None, labels):
        raise ConfigError(
            run, "its labels, or clips they name, have changed since", "choose another `name` and train anew"
        )
    state.settled = recipe.settled  # `recipe.json` is about to be written anew
    return state


def _starting_point(
    kind: Kind, recipe: Recipe, run: Path, state: RunState, data: Sequence[Labels], plan: Any
) -> tuple[Any, Any]:
    """The model the next stage begins with, and its tokenizer."""
    if state.finished:
        return kind.resume(run)
    texts = (turn.text for labels in data for sample in labels.samples for turn in sample.turns)
    return kind.begin(recipe, texts, run, plan)


def _drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished stage; its model and its log stay."""
    for checkpoint in folder.glob("work/checkpoint-*"):
        shutil.rmtree(checkpoint)
