"""Training a dual encoder."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vidapt.loading.compose_dual import DualPlan
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training.align import begin
from vidapt.training.align.captions import caption_clips
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.stage import aligned, measure_of, watch_of
from vidapt.training.kind import Prepared
from vidapt.training.optimizer import DUAL_PARTS, learning
from vidapt.training.ready import Labels, StageData
from vidapt.training.stage import StageWork


class Aligning:
    """The kind of model that compares clips with texts; see `training.kind.Kind`."""

    def planned(self, recipe: Recipe) -> DualPlan | None:
        """What the model's parts begin with, if a recipe takes others' weights."""
        return begin.planned(recipe)

    def begin(
        self, recipe: Recipe, texts: Iterable[str], run: Path, plan: DualPlan | None
    ) -> tuple[DualEncoder, Any]:
        """The model and the tokenizer that a recipe begins with."""
        return begin.begin(recipe, texts, run, plan)

    def outline(self, recipe: Recipe, texts: Iterable[str], plan: DualPlan | None) -> tuple[DualEncoder, Any]:
        """What `begin` makes, for its sizes alone."""
        return begin.outline(recipe, texts, plan)

    def resume(self, run: Path) -> tuple[DualEncoder, Any]:
        """What the last finished stage of a run left."""
        return begin.resume(run)

    def reads(self, labels: Labels, stage: Stage) -> Hashable:
        """Nothing is shared: what becomes of captions is told of each stage."""
        del labels
        return stage.name

    def ready(
        self, labels: Labels, stage: Stage, model: DualEncoder, tokenizer: Any, report: Reporter
    ) -> StageData:
        """A stage's captions as ids; how many are used and left out is told."""
        positions = model.text.positions
        found = {
            name: caption_clips(samples, stage.pairs, tokenizer, positions, f"stage {stage.name}, {name}")
            for name, samples in {"data": labels.samples, **labels.sets}.items()
        }
        for name, one in found.items():
            report(f"{stage.name}: {name}", len(one.clips), len(one.clips), one.line())
        data = found.pop("data")
        return StageData(data.clips, {name: one.clips for name, one in found.items()}, data.counts)

    def learning(self, stage: Stage) -> list[str]:
        """Parts that are not frozen."""
        return learning(DUAL_PARTS, stage)

    def eyes(self, model: DualEncoder) -> DualEyes:
        """Its one tower."""
        return DualEyes(model)

    def work(self, prepared: Prepared) -> StageWork:
        """Pairs in their order; retrieval is measured every `save_every` steps."""
        stage, model, footage = prepared.stage, prepared.model, prepared.footage
        objective = prepared.objective
        pairs = aligned(
            stage,
            model,
            footage,
            prepared.data.clips,
            (prepared.seed, prepared.index),
            lessons=prepared.lessons,
            tells_apart=getattr(objective, "tells_apart", True),
            usable=prepared.usable,
        )
        footage.follow(pairs.items, pairs.steps)
        watch = watch_of(objective)
        return StageWork(
            stage,
            prepared.index,
            prepared.seed,
            prepared.folder / "work",
            pairs.steps,
            pairs.batches,
            objective,
            pairs.order.step,
            measure_of(
                stage, model, prepared.tokenizer, footage, prepared.data.sets, prepared.folder, prepared.card
            ),
            watch,
            watch.line,
        )

    def save(self, folder: Path, model: DualEncoder, tokenizer: Any, card: Mapping[str, Any]) -> None:
        """Write the model's folder in one step."""
        save_dual(folder, model, tokenizer, card)
