"""Language models along the way, measured by questions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.metrics.intervals import mean_interval
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Sample
from vidapt.recipe import Cache
from vidapt.training.align.ends import Ends
from vidapt.training.data import ClipSamples
from vidapt.training.footage import Footage
from vidapt.training.measuring import Marks, Questions, asked_of
from vidapt.training.picture_sizes import grouped_sizes


@dataclass(frozen=True)
class Answered:
    """The answers of a model to a set."""

    marks: Marks

    def to_dict(self) -> dict[str, Any]:
        """Accuracy with its interval over clips, where answers are right or wrong, and the loss."""
        right = [(float(one.right), one.clip) for one in self.marks.questions if one.right is not None]
        if not right:
            return self.marks.to_dict()
        values, clips = zip(*right, strict=True)
        interval = mean_interval(values, clips)
        return {**self.marks.to_dict(), "low": interval.low, "high": interval.high}


class Answers:
    """Of a run's own sets the questions are those that its training asked; of given ones all are asked."""

    rule = (
        "the highest sum over the sets of the share of right answers; of equal ones the lowest sum of "
        "losses, then the smallest share"
    )
    head = ("share", "set", "accuracy", "95 % interval", "loss a token")

    def sets(
        self,
        ends: Ends,
        samples: Mapping[str, Sequence[Sample]],
        given: frozenset[str],
        model: VideoLM,
        tokenizer: Any,
    ) -> dict[str, list[ClipSamples]]:
        """Questions by their clips, as ids."""
        stage = ends.stage
        sizes = None if stage is None else stage.batching.sizes
        counts = {name: stage.measure_questions for name in stage.sets if name not in given} if stage else {}
        return {
            name: asked_of(listed, counts.get(name, sys.maxsize), model, tokenizer, sizes)
            for name, listed in samples.items()
        }

    def footage(
        self,
        model: VideoLM,
        ends: Ends,
        sets: Mapping[str, Sequence[ClipSamples]],
        folder: Path,
        workers: int,
    ) -> Footage:
        """Frames at the sizes of the run's training."""
        sizes = None if ends.stage is None else ends.stage.batching.sizes
        return Footage(
            model,
            Cache(keep="frames"),
            folder,
            tower_trains=True,
            needs_views=True,
            workers=workers,
            sizes=grouped_sizes(sizes, [clip for clips in sets.values() for clip in clips]),
        )

    def measure(
        self, model: VideoLM, tokenizer: Any, footage: Footage, clips: Sequence[ClipSamples]
    ) -> Answered:
        """Ask everything."""
        return Answered(Questions(model, tokenizer, footage, gauged=False)(clips))

    def size(self, clips: Sequence[ClipSamples]) -> dict[str, int]:
        """Clips and questions."""
        return {"clips": len(clips), "questions": sum(len(clip.samples) for clip in clips)}

    def score(self, found: Answered) -> tuple[float, float]:
        """Accuracy, and the loss to tell equals apart."""
        return found.marks.score

    def cells(self, told: Mapping[str, Any]) -> list[list[str]]:
        """Accuracy, its interval, and the loss of a token."""
        loss = f"{told['loss']:.3f}"
        if "accuracy" not in told:
            return [["-", "-", loss]]
        return [
            [f"{100 * told['accuracy']:.1f} %", f"{100 * told['low']:.1f} to {100 * told['high']:.1f}", loss]
        ]
