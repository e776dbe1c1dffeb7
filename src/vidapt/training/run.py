"""Recipe to run: the stages in order, each from the folder the one before it left."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidapt.errors import ConfigError, VidaptError
from vidapt.files import check_folder, remove, write_text
from vidapt.loading import usable_device
from vidapt.locks import owned
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training.align import teachers
from vidapt.training.checkpoint import checkpoints, choose_checkpoint, step_of
from vidapt.training.footprints import Footprint, unchanged, write_footprints
from vidapt.training.kind import Kind
from vidapt.training.number_formats import settle_formats
from vidapt.training.outlook import Outlook, checked, made_ready, texts_of
from vidapt.training.possible import check_stage
from vidapt.training.ready import Labels, labels_digest
from vidapt.training.stage import DivergedError
from vidapt.training.stage_run import StageRun
from vidapt.training.state import (
    RECIPE,
    RunState,
    check_model,
    gone_on,
    note_forks,
    read_state,
    stage_folder,
)
from vidapt.training.tracking import check_trackers


@dataclass(frozen=True)
class _Begun:
    """A run whose folder is owned, just before its next stage.

    Attributes:
        kind: Of the model.
        recipe: What is carried out.
        run: Its folder.
        state: Where it stands.
        plan: What the model's parts begin with.
        data: Labels of each stage.
        done: Steps done of the stage under way.
        footage: What clips' files are.
    """

    kind: Kind
    recipe: Recipe
    run: Path
    state: RunState
    plan: Any
    data: Sequence[Labels]
    done: int
    footage: Mapping[Path, Footprint]

    def left(self) -> dict[str, tuple[int, Stage]]:
        """Unfinished stages by their folders."""
        named = {stage_folder(index, stage): (index, stage) for index, stage in enumerate(self.recipe.stages)}
        return {name: one for name, one in named.items() if name not in self.state.finished}


TRACKED = ("tensorboard",)
"""Where numbers go by default."""


def _unseen(outlook: Outlook) -> None:
    """Nobody looks."""
    del outlook


def train(
    recipe: Recipe,
    runs: Path,
    report: Reporter,
    *,
    resume: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    changes: Collection[str] = (),
    from_step: int | None = None,
    look: Callable[[Outlook], object] = _unseen,
    track: Sequence[str] = TRACKED,
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
        changes: Places of the recipe that differ from the run's on purpose, such as `stages.0.save_every`. Of
            a stage that is not finished may be changed what `forks.CHANGEABLE` lists; it is written down.
        from_step: Go on from this checkpoint of the stage under way, and delete newer ones.
        look: Called once all is checked, before anything is done; it may raise.
        track: Trackers that get the numbers of steps beside the run's own files; see `tracking`.

    Returns:
        The run's folder.

    Raises:
        ConfigError: If files are missing, a part of the user's own cannot be imported, a part does not fit
            the weights it is to begin with, the folder exists and is not to be resumed, or labels, footage or
            anything else of the recipe are not what the run began with.
        TakenError: If another process works in the run's folder.
        FormatError: If a label file is unsound, or media are missing.
        CheckpointError: If the model to start from cannot be opened, or no checkpoint is sound.
        VidaptError: If the run's folder cannot be written, or training diverged.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; what is done is saved and `resume` goes on from it.
    """
    run = runs / recipe.name
    check_folder(run)
    check_trackers(track)
    if from_step is not None and not resume:
        raise ConfigError("from_step", "is for a run that goes on", "add --resume")
    kind, plan, data = checked(recipe, run, report)
    place = _place(device, recipe)
    count = os.cpu_count() or 1 if workers is None else workers
    with owned(run):
        begun = _begun(kind, recipe, run, plan, data, report, changes, from_step, resume=resume)
        try:
            _carry_out(begun, report, place, count, look, track)
        except DivergedError as error:
            options = {"--device": device if device != "cpu" else None, "--workers": workers}
            raise _diverged(error, begun, runs, options) from error
    return run


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


def _begun(
    kind: Kind,
    recipe: Recipe,
    run: Path,
    plan: Any,
    data: Sequence[Labels],
    report: Reporter,
    changes: Collection[str],
    from_step: int | None,
    *,
    resume: bool,
) -> _Begun:
    """A run as it goes on, or as it begins; nothing of it is written yet but what was changed or deleted."""
    labels = labels_digest(data)
    clips = [clip for one in data for sample in one.held() for clip in sample.media]
    state = read_state(run, recipe, resume=resume)
    if state is None:
        if from_step is not None:
            raise ConfigError(run, "is no run yet", "leave out --from-step, or check --runs and `name`")
        state = RunState(recipe.fingerprint, recipe.settled, labels)
        return _Begun(kind, recipe, run, state, plan, data, 0, unchanged(run, clips))
    recipe, changed = gone_on(state, run, recipe, changes)
    if state.data not in (None, labels):
        raise ConfigError(
            run, "its labels, or clips they name, have changed since", "choose another `name` and train anew"
        )
    state.settled = recipe.settled  # `recipe.json` is about to be written anew
    done, footage = 0, dict[Path, Footprint]()
    if len(state.finished) < len(recipe.stages):
        footage = unchanged(run, clips)  # before anything is changed or deleted
        name = stage_folder(len(state.finished), recipe.stages[len(state.finished)])
        done = choose_checkpoint(
            run / name / "work", lambda told: report(f"{name}: checkpoints", 1, 1, told), from_step
        )
        _check_length(recipe.stages[len(state.finished)], len(state.finished), done)
        for fork in note_forks(state, recipe, changed, done):
            told = ", ".join(f"{place} {old} -> {new}" for place, (old, new) in fork.changed.items())
            report(f"{fork.stage}: changed", 1, 1, f"from step {fork.step}: {told}")
    elif from_step is not None:
        raise ConfigError(run, "all of its stages are finished", "leave out --from-step")
    return _Begun(kind, recipe.known_as(state.recipe), run, state, plan, data, done, footage)


def _check_length(stage: Stage, index: int, done: int) -> None:
    """Refuse fewer steps than are done, before anything of a change is written."""
    if stage.steps is not None and stage.steps < done:
        raise ConfigError(
            f"stages.{index}.steps", f"is {stage.steps}, and {done} are done", f"give {done} or more"
        )


def _carry_out(
    begun: _Begun,
    report: Reporter,
    place: torch.device,
    workers: int,
    look: Callable[[Outlook], object],
    track: Sequence[str],
) -> None:
    run, state, recipe, left = begun.run, begun.state, begun.recipe, begun.left()
    contents = {path: one.content for path, one in begun.footage.items() if one.content is not None}
    model, tokenizer = _starting_point(begun)
    for _, stage in left.values():
        check_stage(model, stage)
    settle_formats(model, [stage for _, stage in left.values()])
    model.to(place)
    stages = made_ready(begun.kind, begun.data, left, model, tokenizer, report)
    look(Outlook(begun.kind, recipe, model, tokenizer, left, stages))
    taught = {
        name: teachers.open_teachers(stage.objective, model.blueprint.frames, place)
        for name, (_, stage) in left.items()
    }
    write_text(run / RECIPE, recipe.to_json() + "\n")
    if left:
        write_footprints(run, begun.footage.values())
    state.write(run)
    for number, (name, (index, _)) in enumerate(left.items()):
        work = StageRun(
            kind=begun.kind,
            recipe=recipe,
            index=index,
            run=run,
            data=stages[name],
            report=report,
            workers=workers,
            contents=contents,
            forks=state.forks_of(name),
            done=begun.done if number == 0 else 0,
            teachers=taught[name],
            track=track,
        )
        state.finish(name, work.carry_out(model, tokenizer), run)
        state.write(run)
        _drop_checkpoints(run / name)


def _starting_point(begun: _Begun) -> tuple[Any, Any]:
    """The model the next stage begins with, and its tokenizer."""
    if begun.state.finished:
        check_model(begun.state, begun.run)
        return begun.kind.resume(begun.run)
    return begun.kind.begin(begun.recipe, texts_of(begun.data), begun.run, begun.plan)


def _diverged(error: DivergedError, begun: _Begun, runs: Path, options: Mapping[str, object]) -> VidaptError:
    """What happened, and the command that goes on with lower rates."""
    name, (index, stage) = next(iter(begun.left().items()))
    kept = [step_of(path) for path in checkpoints(begun.run / name / "work")]
    rates = stage.optimizer.rates
    sets = [
        f"stages.{index}.optimizer.rates.{part}={getattr(rates, part) / 10:g}"
        for part in begun.kind.learning(stage)
    ]
    if stage.optimizer.clip_norm is None:
        sets.append(f"stages.{index}.optimizer.clip_norm=1.0")
    words = ["vidapt", "train", str(begun.run / RECIPE), "--runs", str(runs), "--resume"]
    words += [word for one in sets for word in ("--set", one)]
    words += [word for key, value in options.items() if value is not None for word in (key, str(value))]
    where = f"from step {kept[-1]}" if kept else "from its beginning"
    older = f"\n     (--from-step {kept[-2]} goes on from the checkpoint before)" if len(kept) > 1 else ""
    return VidaptError(
        error.where,
        error.found,
        f"lower the learning rate and go on {where}, such as\n     {shlex.join(words)}{older}",
    )


def _drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished stage; its model and its log stay."""
    for checkpoint in folder.glob("work/checkpoint-*"):
        remove(checkpoint)
