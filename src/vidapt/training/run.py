"""Recipe to run: the stages in order, each from the folder the one before it left."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import vidapt
from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import check_folder, write_json, write_text
from vidapt.formats import check, fingerprint
from vidapt.loading import RUN, open_model, usable_device
from vidapt.loading.compose import Plan
from vidapt.loading.compose_dual import DualPlan
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.parts import import_modules, outside
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage, missing_files
from vidapt.training import begin, quarantine
from vidapt.training.align import begin as align_begin
from vidapt.training.align import teachers
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.stage import aligned, measure_of, watch_of
from vidapt.training.batch import StageBatch
from vidapt.training.footage import Footage
from vidapt.training.optimizer import Model, set_trainable
from vidapt.training.order import Order, total_steps
from vidapt.training.ready import Labels, StageData, aligns, read_labels, ready
from vidapt.training.stage import StageWork, fit, make_objective
from vidapt.training.truth import read_truth

RECIPE = "recipe.json"
_BEGUN = (RECIPE, begin.LOAD_REPORT)
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
    flex: bool = False,
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
        flex: Attend by FlexAttention, which trains on CUDA only; the result differs by rounding alone.

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
    dual, plan, data = _checked(recipe, run)
    state = _read_state(run, recipe, data, resume=resume)
    recipe = recipe.known_as(state.recipe)
    model, tokenizer = _starting_point(recipe, run, state, data, plan, dual=dual)
    place = _place(device, flex=flex)
    model.to(place)
    stages = [
        ready(labels, stage, model, tokenizer, report)
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
        work = StageRun(recipe, index, run, stages[index], report, count, flex=flex, teachers=taught[name])
        state.stages[name] = work.carry_out(model, tokenizer)
        state.finished.append(name)
        write_json(run / RUN, asdict(state))
        _drop_checkpoints(run / name)
    return run


def _checked(recipe: Recipe, run: Path) -> tuple[bool, Plan | DualPlan | None, list[Labels]]:
    """Whether a recipe trains a dual encoder, what its parts begin with, and the labels of its stages.

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
    dual = aligns(recipe)
    plan = None if _has_finished(run) else begin.planned(recipe, dual=dual)
    data = [read_labels(recipe, stage) for stage in recipe.stages]
    check([sample for one in data for sample in one.everything()])
    return dual, plan, data


def _has_finished(run: Path) -> bool:
    """Whether a stage of a run is finished, with which it goes on; a damaged run is looked at later."""
    try:
        return bool(json.loads((run / RUN).read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _place(device: str, *, flex: bool) -> torch.device:
    """Where to train."""
    place = usable_device(device)
    if flex and place.type != "cuda":
        raise ConfigError(
            "flex", f"FlexAttention cannot train on {device!r}", "leave it out, or train on CUDA"
        )
    return place


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder in its run."""
    return f"{index + 1:02d}-{stage.name}"


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
            f"use {run / RECIPE}, or choose another `name`",
        )
    if state.data not in (None, labels):
        raise ConfigError(
            run, "its labels, or clips they name, have changed since", "choose another `name` and train anew"
        )
    state.settled = recipe.settled  # `recipe.json` is about to be written anew
    return state


def _starting_point(
    recipe: Recipe,
    run: Path,
    state: RunState,
    data: Sequence[Labels],
    plan: Plan | DualPlan | None,
    *,
    dual: bool,
) -> tuple[Model, Any]:
    """The model the next stage begins with, and its tokenizer."""
    if state.finished:
        return align_begin.resume(run) if dual else open_model(run)
    texts = (turn.text for labels in data for sample in labels.samples for turn in sample.turns)
    if dual:
        assert not isinstance(plan, Plan)
        return align_begin.begin(recipe, texts, run, plan)
    assert not isinstance(plan, DualPlan)
    return begin.begin(recipe, texts, run, plan)


@dataclass(frozen=True)
class StageRun:
    """One stage of a run: its clips made ready, its steps taken, its model saved."""

    recipe: Recipe
    index: int
    run: Path
    data: StageData
    report: Reporter
    workers: int
    flex: bool
    teachers: Mapping[str, teachers.Teacher]

    @property
    def stage(self) -> Stage:
        """What the recipe says."""
        return self.recipe.stages[self.index]

    @property
    def folder(self) -> Path:
        """Where the stage's work and model go."""
        return self.run / stage_folder(self.index, self.stage)

    def carry_out(self, model: Model, tokenizer: Any) -> dict[str, Any]:
        """Train `model` in place and save it; returns steps, seconds and loss."""
        stage = self.stage
        objective = make_objective(stage, model, self.recipe.seed)
        if told := set_trainable(model, stage.train):
            self.report(f"{stage.name}: adapters", 1, 1, told)
        footage = Footage(
            model if isinstance(model, VideoLM) else DualEyes(model),
            stage.cache,
            self.run.parent / ".cache",
            tower_trains=stage.train.towers != "frozen",
            needs_views=getattr(objective, "needs_views", False),
            workers=self.workers,
            precision=stage.precision,
        )
        data = self._usable(footage, self.data)
        if isinstance(model, VideoLM):
            work = self._talking(model, tokenizer, objective, footage, data)
            result = {**fit(model, work, self._show()), **({"adapters": told} if told else {})}
            save_model(self.folder / "model", model, tokenizer, self._card(result, data))
            return result
        shown, data = self._lessons(objective, data, model.device)
        work, note = self._aligning(model, tokenizer, objective, footage, data, shown)
        result = {**fit(model, work, self._show(note)), "texts": dict(data.counts)}
        save_dual(self.folder / "model", model, tokenizer, self._card(result, data))
        return result

    def _talking(
        self, model: VideoLM, tokenizer: Any, objective: nn.Module, footage: Footage, data: StageData
    ) -> StageWork:
        """A stage of a video-language model."""
        stage, clips = self.stage, data.clips
        order = Order(clips, stage.batching, (self.recipe.seed, self.index))
        truth = read_truth(clips, getattr(objective, "columns", ()))
        shared, flex = stage.batching.shared_prefix, self.flex

        def batch(number: int) -> StageBatch:
            visits = order.step(number)
            return StageBatch(
                model, tokenizer, footage, clips, visits, truth, shared_prefix=shared, flex=flex
            )

        return self._work(total_steps(stage, order), batch, objective)

    def _lessons(
        self, objective: nn.Module, data: StageData, device: torch.device
    ) -> tuple[dict[str, Footage], StageData]:
        """What the teachers see of the clips, and the clips that all of them can see."""
        shown = teachers.lessons(self.teachers, self.stage.cache, self.run.parent / ".cache", self.workers)
        for name, footage in shown.items():
            self.teachers[name].to(device)
            data = replace(self._usable(footage, replace(data, sets={}), f" for {name}"), sets=data.sets)
            self.teachers[name].cpu()
        items = list(dict.fromkeys((clip.media[0], 1) for clip in data.clips))
        if shown:
            teachers.introduce(objective, shown, items, self.recipe.seed, device)
        return shown, data

    def _aligning(
        self,
        model: DualEncoder,
        tokenizer: Any,
        objective: nn.Module,
        footage: Footage,
        data: StageData,
        shown: Mapping[str, Footage],
    ) -> tuple[StageWork, Callable[[], str]]:
        """A stage of a dual encoder, and what is to be told of its terms."""
        stage, seed = self.stage, self.recipe.seed
        apart = getattr(objective, "tells_apart", True)
        pairs = aligned(
            stage, model, footage, data.clips, (seed, self.index), lessons=shown, tells_apart=apart
        )
        watch = watch_of(objective)

        def card(numbers: Mapping[str, Any]) -> dict[str, Any]:
            return self._card(dict(numbers), data)

        measure = measure_of(stage, model, tokenizer, footage, data.sets, self.folder, card)
        work = self._work(pairs.steps, pairs.batch, objective)
        return replace(work, measure=measure, watch=watch), watch.line

    def _work(self, steps: int, batch: Callable[[int], Any], objective: nn.Module) -> StageWork:
        folder = self.folder / "work"
        return StageWork(self.stage, self.index, self.recipe.seed, folder, steps, batch, objective)

    def _show(self, note: Callable[[], str] = str) -> Callable[[int, int, float], None]:
        def show(done: int, total: int, loss: float) -> None:
            words = [f"loss {loss:.3f}", note()]
            self.report(self.stage.name, done, total, "; ".join(word for word in words if word))

        return show

    def _usable(self, footage: Footage, data: StageData, why: str = "") -> StageData:
        """Clips without the broken ones, which are written down with their reasons."""
        every = [*data.clips, *(clip for clips in data.sets.values() for clip in clips)]
        media = list(dict.fromkeys((clip, len(c.media)) for c in every for clip in c.media))
        task = f"{self.stage.name}: read clips{why}"
        broken = footage.prepare(media, lambda done, total: self.report(task, done, total, footage.note))
        if not broken:
            return data
        file = self.run / quarantine.QUARANTINE
        quarantine.add(file, broken)

        def whole(clips: Sequence[Any]) -> list[Any]:
            kept = [c for c in clips if broken.keys().isdisjoint(c.media)]
            if not kept:
                raise ConfigError(file, "none of the clips can be used", "read the reasons there")
            return kept

        sets = {name: whole(clips) for name, clips in data.sets.items()}
        return replace(data, clips=whole(data.clips), sets=sets)

    def _card(self, result: dict[str, Any], data: StageData) -> dict[str, Any]:
        return {
            "recipe": self.recipe.name,
            "recipe_hash": self.recipe.fingerprint,
            "stage": self.stage.name,
            "seed": self.recipe.seed,
            "clips": len(data.clips),
            "samples": sum(len(c.samples) for c in data.clips),
            **result,
            "versions": {
                "vidapt": vidapt.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


def _drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished stage; its model and its log stay."""
    for checkpoint in folder.glob("work/checkpoint-*"):
        shutil.rmtree(checkpoint)
