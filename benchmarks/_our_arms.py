"""vidapt's arms: the real training code on the work of `_packing_work`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _packing_work import Work
from vidapt.loading import open_model
from vidapt.models.video_lm import VideoLM
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Batching, Cache, DataSource, Prompt, Recipe, Trained
from vidapt.training.batch import StageBatch
from vidapt.training.data import ClipSamples, group_by_clip, read_samples
from vidapt.training.footage import Footage
from vidapt.training.freeze import adapter_weights, set_trainable
from vidapt.training.order import Visit
from vidapt.training.run import train

STAGE = "adapt"


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        name: For the table.
        shared: All questions of a clip behind one copy of it; else each question by itself.
        cached: Keep the frozen tower's features.
        flex: Attend by FlexAttention (CUDA).
    """

    name: str
    shared: bool
    cached: bool
    flex: bool = False


SEPARATE = Arm("separate samples", shared=False, cached=False)
SHARED = Arm("shared prefix", shared=True, cached=False)
CACHED = Arm("feature cache", shared=False, cached=True)
BOTH = Arm("shared prefix and feature cache", shared=True, cached=True)


@dataclass(frozen=True)
class Timed:
    """What an arm took.

    Attributes:
        fill: Reading of the clock while clips were read before the first step.
        marks: Readings after every step.
        per_step: Questions in a step.
    """

    fill: float
    marks: list[float]
    per_step: int


def recipe(
    work: Work,
    arm: Arm,
    steps: int,
    *,
    questions_per_step: int,
    precision: str = "float32",
    recompute: bool = False,
    clips: int | None = None,
    optimizer: Mapping[str, Any] | None = None,
    start: Path | None = None,
) -> Recipe:
    """What the arm trains.

    Separate samples draw one question of a clip per visit, so that every question costs its own decoding,
    tower and language model, as in other trainers.
    """
    per_clip = work.sizes.questions if arm.shared else 1
    stage = {
        "name": STAGE,
        "data": [{"path": str(work.labels), "limit": clips}],
        "train": {"towers": "frozen", "connector": "full", "language": "lora"},
        "batching": {
            "clips": questions_per_step // per_clip,
            "questions": per_clip,
            "shared_prefix": arm.shared,
            "flex": arm.flex,
            "blind": 0.0,  # all sides show every question its clip
        },
        "cache": {"keep": "features" if arm.cached else "nothing"},
        "steps": steps,
        "save_every": steps,
        "precision": precision,
        "recompute": recompute,
        "optimizer": optimizer or {},
    }
    return Recipe.model_validate({"name": "run", "start": str(start or work.checkpoint), "stages": [stage]})


def run(
    work: Work,
    arm: Arm,
    steps: int,
    clock: Callable[[], float],
    *,
    questions_per_step: int,
    device: str = "cpu",
    precision: str = "float32",
) -> Timed:
    """Train an arm by `vidapt.training.run.train` and read the clock between its steps."""
    marks: list[float] = []
    reading: list[float] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        del done, total, note
        (marks if task == STAGE else reading).append(clock())

    runs = Path(tempfile.mkdtemp())
    plan = recipe(work, arm, steps, questions_per_step=questions_per_step, precision=precision)
    try:
        train(plan, runs, report, workers=0, device=device)
    finally:
        shutil.rmtree(runs)
    return Timed(reading[-1] - reading[0], marks, questions_per_step)


@dataclass(frozen=True)
class Equality:
    """How far one copy of a clip is from one copy per question.

    Attributes:
        loss: Mean cross-entropy per label, separately.
        gap: Difference of the two losses, relative.
        gradient: Largest difference of a weight's gradients, relative to the largest of that weight's.
    """

    loss: float
    gap: float
    gradient: float


def compare(work: Work, clips: int) -> Equality:
    """Loss and every gradient of the first clips' questions, shared against separate, in float32."""
    model, tokenizer = open_model(work.checkpoint)
    set_trainable(model, Trained(language="lora"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in adapter_weights(model.language):
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    data = group_by_clip(
        read_samples([DataSource(path=work.labels)]), model.blueprint.prompt, tokenizer, max_answer_tokens=999
    )[:clips]
    with tempfile.TemporaryDirectory() as folder:
        footage = _footage(model, Path(folder), data)
        separate, apart = _gradients(model, footage, data, shared=False)
        shared, together = _gradients(model, footage, data, shared=True)
    gradient = max(
        float((apart[name] - together[name]).abs().max() / apart[name].abs().max()) for name in apart
    )
    return Equality(separate, abs(shared - separate) / abs(separate), gradient)


def first_loss(work: Work, prompt: Prompt | None = None) -> float:
    """Mean cross-entropy per label of the first clip's questions by the untrained model."""
    model, tokenizer = open_model(work.checkpoint)
    data = group_by_clip(
        read_samples([DataSource(path=work.labels)]),
        prompt or model.blueprint.prompt,
        tokenizer,
        max_answer_tokens=999,
    )[:1]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        return _loss(model, _footage(model, Path(folder), data), data, shared=True)[1]


def _footage(model: VideoLM, folder: Path, data: list[ClipSamples]) -> Footage:
    footage = Footage(model, Cache(keep="features"), folder, tower_trains=False, needs_views=False, workers=0)
    footage.prepare(
        [(clip, len(clips.media)) for clips in data for clip in clips.media], lambda done, total: None
    )
    return footage


def _gradients(
    model: VideoLM, footage: Footage, data: list[ClipSamples], *, shared: bool
) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    mean, value = _loss(model, footage, data, shared=shared)
    mean.backward()
    return value, {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


def _loss(model: VideoLM, footage: Footage, data: list[ClipSamples], *, shared: bool) -> tuple[Tensor, float]:
    visits = [Visit(index, tuple(range(len(clips.samples)))) for index, clips in enumerate(data)]
    # Nothing has to be tokenised: LLaVA puts no text between a clip's visual tokens.
    batch = StageBatch(model, None, footage, data, visits, {}, Batching(shared_prefix=shared))
    loss = NextToken(NextToken.Config())(model, batch)
    mean = loss.total / loss.weight
    return mean, float(mean.detach())
