"""One stage of a run: its clips made ready, its steps taken, its model saved."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training import quarantine
from vidapt.training.align import teachers
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.stage import aligned, measure_of, watch_of
from vidapt.training.batch import StageBatch
from vidapt.training.footage import Footage
from vidapt.training.optimizer import Model, set_trainable
from vidapt.training.order import Order, total_steps
from vidapt.training.ready import StageData
from vidapt.training.stage import StageWork, fit, make_objective
from vidapt.training.truth import read_truth
from vidapt.version import VERSION


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder in its run."""
    return f"{index + 1:02d}-{stage.name}"


@dataclass(frozen=True)
class StageRun:
    """A stage and all that it is carried out with.

    Attributes:
        recipe: Of the run.
        index: Of the stage among the recipe's.
        run: Folder of the run.
        data: The stage's clips and their labels.
        report: Shows progress.
        workers: Decoding processes.
        flex: Attend by FlexAttention.
        teachers: Those of its objective, by name.
    """

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
                "vidapt": VERSION,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }
