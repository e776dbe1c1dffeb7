"""Recipe to run: the stages in order, each from the folder the one before it left."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import vidapt
from vidapt.errors import BrokenClip, CheckpointError, ConfigError
from vidapt.files import write_json, write_text
from vidapt.formats import check
from vidapt.loading import RUN, locate, open_model, usable_device
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.recipe import Blueprint, Recipe, Stage, missing_files
from vidapt.training.data import ClipSamples, group_by_clip, read_samples
from vidapt.training.footage import Footage
from vidapt.training.optimizer import set_trainable
from vidapt.training.stage import StageWork, fit, make_objective
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.training.truth import read_truth

RECIPE, QUARANTINE = "recipe.json", "quarantine.jsonl"


@dataclass
class RunState:
    """What `run.json` holds.

    Attributes:
        recipe: Fingerprint of the recipe.
        finished: Folders of the finished stages, in order.
        stages: Steps, seconds and loss of each.
    """

    recipe: str
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

    Everything that can be checked is checked before work begins: label files, their media and their
    answers' lengths.

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
        ConfigError: If files are missing, or the folder exists and is not to be resumed.
        FormatError: If a label file is unsound, or media are missing.
        CheckpointError: If the model to start from cannot be opened.
        KeyboardInterrupt: After Ctrl-C; what is done is saved and `resume` goes on from it.
    """
    absent = missing_files(recipe)
    if absent:
        raise ConfigError(
            "recipe", "files are missing:\n  " + "\n  ".join(map(str, absent)), "mend the paths"
        )
    data = [read_samples(recipe.sources(stage)) for stage in recipe.stages]
    check([sample for samples in data for sample in samples])
    if recipe.start is not None:
        locate(recipe.start)
    run = runs / recipe.name
    state = _read_state(run, recipe, resume=resume)
    model, tokenizer = _starting_point(recipe, run, state, data)
    place = usable_device(device)
    if flex and place.type != "cuda":
        raise ConfigError(
            "flex", f"FlexAttention cannot train on {device!r}", "leave it out, or train on CUDA"
        )
    model.to(place)
    prompt = model.blueprint.prompt
    clips = [
        group_by_clip(samples, prompt, tokenizer, stage.batching.max_answer_tokens)
        for samples, stage in zip(data, recipe.stages, strict=True)
    ]
    count = os.cpu_count() or 1 if workers is None else workers
    write_text(run / RECIPE, recipe.model_dump_json(indent=2) + "\n")
    write_json(run / RUN, asdict(state))
    for index, stage in enumerate(recipe.stages):
        name = stage_folder(index, stage)
        if name in state.finished:
            continue
        work = StageRun(recipe, index, run, clips[index], report, count, flex=flex)
        state.stages[name] = work.carry_out(model, tokenizer)
        state.finished.append(name)
        write_json(run / RUN, asdict(state))
        _drop_checkpoints(run / name)
    return run


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder in its run."""
    return f"{index + 1:02d}-{stage.name}"


def _read_state(run: Path, recipe: Recipe, *, resume: bool) -> RunState:
    """Where the run stands; a new state if its folder is not there or was only just begun."""
    file = run / RUN
    if not file.exists():
        if run.exists() and any(
            path.name != RECIPE and not path.name.startswith(".") for path in run.iterdir()
        ):
            raise ConfigError(run, "exists and is not a run", "choose another `name` or folder")
        return RunState(recipe.fingerprint)
    try:
        state = RunState(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            file, f"is damaged: {error}", "delete the run's folder and train again"
        ) from error
    if not resume:
        raise ConfigError(run, "this run exists", "add --resume to go on with it, or choose another `name`")
    if state.recipe != recipe.fingerprint:
        raise ConfigError(
            run,
            "was made by another version of the recipe",
            f"use {run / RECIPE}, or choose another `name`",
        )
    return state


def _starting_point(
    recipe: Recipe, run: Path, state: RunState, data: Sequence[Sequence[Sample]]
) -> tuple[VideoLM, Any]:
    """The model the next stage begins with."""
    if state.finished:
        return open_model(run)
    if recipe.start is not None:
        report = run / "load_report.json"
        return open_model(recipe.start, tell=lambda told: write_json(report, told.to_dict()))
    assert recipe.blueprint is not None
    tokenizer = _tokenizer(recipe, recipe.blueprint, data)
    language = {
        **recipe.blueprint.language,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    language |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(recipe.seed)
    return VideoLM(recipe.blueprint.model_copy(update={"language": language})), tokenizer


def _tokenizer(recipe: Recipe, blueprint: Blueprint, data: Sequence[Sequence[Sample]]) -> Any:
    if recipe.tokenizer is not None:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(recipe.tokenizer)
    texts = (turn.text for samples in data for sample in samples for turn in sample.turns)
    return learn_tokenizer(texts, blueprint.prompt, recipe.vocabulary)


@dataclass(frozen=True)
class StageRun:
    """One stage of a run: its clips made ready, its steps taken, its model saved."""

    recipe: Recipe
    index: int
    run: Path
    clips: Sequence[ClipSamples]
    report: Reporter
    workers: int
    flex: bool

    @property
    def stage(self) -> Stage:
        """What the recipe says."""
        return self.recipe.stages[self.index]

    def carry_out(self, model: VideoLM, tokenizer: Any) -> dict[str, Any]:
        """Train `model` in place and save it; returns steps, seconds and loss."""
        stage, folder = self.stage, self.run / stage_folder(self.index, self.stage)
        objective = make_objective(stage, model, self.recipe.seed)
        set_trainable(model, stage.train)
        footage = Footage(
            model,
            stage.cache,
            self.run.parent / ".cache",
            tower_trains=stage.train.towers != "frozen",
            needs_views=getattr(objective, "needs_views", False),
            workers=self.workers,
        )
        clips = self._usable(footage)
        work = StageWork(
            stage=stage,
            index=self.index,
            seed=self.recipe.seed,
            folder=folder / "work",
            clips=clips,
            tokenizer=tokenizer,
            truth=read_truth(clips, getattr(objective, "columns", ())),
            footage=footage,
            objective=objective,
            flex=self.flex,
        )
        result = fit(model, work, self._show)
        save_model(folder / "model", model, tokenizer, _card(self.recipe, stage, result, clips))
        return result

    def _show(self, done: int, total: int, loss: float) -> None:
        self.report(self.stage.name, done, total, f"loss {loss:.3f}")

    def _usable(self, footage: Footage) -> list[ClipSamples]:
        """Clips without the broken ones, which are written down with their reasons."""
        media = list(dict.fromkeys((clip, len(c.media)) for c in self.clips for clip in c.media))
        task = f"{self.stage.name}: read clips"
        broken = footage.prepare(media, lambda done, total: self.report(task, done, total))
        if not broken:
            return list(self.clips)
        file = self.run / QUARANTINE
        _quarantine(file, broken)
        bad = {b.path for b in broken}
        kept = [c for c in self.clips if not any(clip.path in bad for clip in c.media)]
        if not kept:
            raise ConfigError(file, "none of the clips can be used", "read the reasons there")
        return kept


def _quarantine(file: Path, broken: Sequence[BrokenClip]) -> None:
    """Add broken clips to those that earlier stages wrote down; one line each."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines += [json.dumps({"path": str(b.path), "reason": b.reason}, ensure_ascii=False) for b in broken]
    write_text(file, "".join(line + "\n" for line in dict.fromkeys(lines)))


def _card(
    recipe: Recipe, stage: Stage, result: dict[str, Any], clips: Sequence[ClipSamples]
) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "recipe_hash": recipe.fingerprint,
        "stage": stage.name,
        "seed": recipe.seed,
        "clips": len(clips),
        "samples": sum(len(c.samples) for c in clips),
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
