"""Recipe to run: the stages in order, each from the folder the one before it left."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

import vidapt
from vidapt.errors import BrokenClip, ConfigError
from vidapt.files import write_json, write_text
from vidapt.formats import check
from vidapt.loading import RUN, locate, open_model
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Sample
from vidapt.recipe import Blueprint, Recipe, Stage, missing_files
from vidapt.training.data import ClipSamples, group_by_clip, read_samples
from vidapt.training.footage import Footage
from vidapt.training.optimizer import set_trainable
from vidapt.training.stage import StageWork, fit, make_objective
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.training.truth import read_truth


class Reporter(Protocol):
    """Shows how far the work is."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `task`."""


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

    Returns:
        The run's folder.

    Raises:
        ConfigError: If files are missing, or the folder exists and is not to be resumed.
    """
    absent = missing_files(recipe)
    if absent:
        raise ConfigError(
            "recipe", "files are missing:\n  " + "\n  ".join(map(str, absent)), "mend the paths"
        )
    data = [read_samples(stage.data) for stage in recipe.stages]
    check([sample for samples in data for sample in samples])
    if recipe.start is not None:
        locate(recipe.start)
    run = runs / recipe.name
    state = _open_run(run, recipe, resume=resume)
    model, tokenizer = _starting_point(recipe, run, state, data)
    model.to(device)
    prompt = model.blueprint.prompt
    clips = [
        group_by_clip(samples, prompt, tokenizer, stage.batching.max_answer_tokens)
        for samples, stage in zip(data, recipe.stages, strict=True)
    ]
    count = os.cpu_count() or 1 if workers is None else workers
    for index, stage in enumerate(recipe.stages):
        name = stage_folder(index, stage)
        if name in state.finished:
            continue
        result = _stage(recipe, index, run, model, tokenizer, clips[index], report, count)
        state.finished.append(name)
        state.stages[name] = result
        write_json(run / RUN, state.__dict__)
    return run


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder in its run."""
    return f"{index + 1:02d}-{stage.name}"


def _open_run(run: Path, recipe: Recipe, *, resume: bool) -> RunState:
    file = run / RUN
    if not file.exists():
        if run.exists() and any(run.iterdir()):
            raise ConfigError(run, "exists and is not a run", "choose another `name` or folder")
        state = RunState(recipe.fingerprint)
        write_text(run / "recipe.json", recipe.model_dump_json(indent=2) + "\n")
        write_json(file, state.__dict__)
        return state
    state = RunState(**json.loads(file.read_text(encoding="utf-8")))
    if not resume:
        raise ConfigError(run, "this run exists", "add --resume to go on with it, or choose another `name`")
    if state.recipe != recipe.fingerprint:
        raise ConfigError(
            run,
            "was made by another version of the recipe",
            f"use {run / 'recipe.json'}, or choose another `name`",
        )
    return state


def _starting_point(
    recipe: Recipe, run: Path, state: RunState, data: Sequence[Sequence[Sample]]
) -> tuple[VideoLM, Any]:
    """The model the next stage begins with."""
    if state.finished:
        return open_model(run)
    if recipe.start is not None:
        return open_model(recipe.start)
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


def _stage(
    recipe: Recipe,
    index: int,
    run: Path,
    model: VideoLM,
    tokenizer: Any,
    clips: Sequence[ClipSamples],
    report: Reporter,
    workers: int,
) -> dict[str, Any]:
    stage = recipe.stages[index]
    folder = run / stage_folder(index, stage)
    objective = make_objective(stage, model, recipe.seed)
    set_trainable(model, stage.train)
    footage = Footage(
        model,
        stage.cache,
        run.parent / ".cache",
        tower_trains=stage.train.towers != "frozen",
        needs_views=getattr(objective, "needs_views", False),
        workers=workers,
    )
    media = list(dict.fromkeys(clip for c in clips for clip in c.media))
    broken = footage.prepare(media, lambda done, total: report(f"{stage.name}: read clips", done, total))
    clips = _without(clips, media, broken, run)
    work = StageWork(
        stage=stage,
        index=index,
        seed=recipe.seed,
        folder=folder / "work",
        clips=clips,
        truth=read_truth(clips, getattr(objective, "columns", ())),
        footage=footage,
        objective=objective,
    )
    result = fit(model, work, lambda done, total, loss: report(stage.name, done, total, f"loss {loss:.3f}"))
    save_model(folder / "model", model, tokenizer, _card(recipe, stage, result, clips))
    return result


def _without(
    clips: Sequence[ClipSamples], media: Sequence[Clip], broken: Sequence[BrokenClip], run: Path
) -> list[ClipSamples]:
    """Clips without the broken ones, which are written down with their reasons."""
    if not broken:
        return list(clips)
    rows = [{"path": str(b.path), "reason": b.reason} for b in broken]
    write_text(run / "quarantine.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    bad = {b.path for b in broken}
    kept = [c for c in clips if not any(clip.path in bad for clip in c.media)]
    if not kept:
        raise ConfigError(
            run / "quarantine.jsonl", f"all {len(media)} clips are broken", "read the reasons there"
        )
    return kept


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


def remove_work(run: Path) -> None:
    """Delete checkpoints of finished stages; their models stay."""
    for folder in run.glob("*/work/checkpoint-*"):
        shutil.rmtree(folder)
