"""Dual encoders along the way, measured by retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.metrics.retrieval import AT, BothWays, both_ways
from vidapt.models.dual_encoder import DualEncoder
from vidapt.nouns import Sample
from vidapt.recipe import Batching, Cache, Pairing
from vidapt.training.align.captions import ClipCaptions, caption_clips
from vidapt.training.align.ends import Ends
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.retrieve import cosines, score_of
from vidapt.training.footage import Footage


class Retrieving:
    """A run's sets, pairing and group size are used where there is a run.

    Args:
        ends: The two models.
    """

    rule = (
        "the highest sum over the sets of recall@1 (mean of both ways); of equal ones the lowest sum of mean "
        "ranks, then the smallest share"
    )
    head = ("share", "set", "way", "R@1", "R@5", "R@10", "median rank", "mean rank")

    def __init__(self, ends: Ends) -> None:
        self._together = (Batching() if ends.stage is None else ends.stage.batching).clips

    def sets(
        self,
        ends: Ends,
        samples: Mapping[str, Sequence[Sample]],
        given: frozenset[str],
        model: DualEncoder,
        tokenizer: Any,
    ) -> dict[str, Sequence[ClipCaptions]]:
        """Texts by their clips.

        Raises:
            ConfigError: If there is no tokenizer, or no caption in a set.
        """
        del given
        if tokenizer is None:
            raise ConfigError(ends.tuned, "has no tokenizer", "give the run that tuned it")
        pairing = Pairing() if ends.stage is None else ends.stage.pairs
        return {
            name: caption_clips(listed, pairing, tokenizer, model.text.positions, name).clips
            for name, listed in samples.items()
        }

    def footage(
        self,
        model: DualEncoder,
        ends: Ends,
        sets: Mapping[str, Sequence[ClipCaptions]],
        folder: Path,
        workers: int,
    ) -> Footage:
        """Frames."""
        del ends, sets
        return Footage(
            DualEyes(model),
            Cache(keep="frames"),
            folder,
            tower_trains=True,
            needs_views=True,
            workers=workers,
        )

    def measure(
        self, model: DualEncoder, tokenizer: Any, footage: Footage, clips: Sequence[ClipCaptions]
    ) -> BothWays:
        """Clips by texts and texts by clips."""
        del tokenizer
        return both_ways(*cosines(model, footage, clips, self._together))

    def size(self, clips: Sequence[ClipCaptions]) -> dict[str, int]:
        """Clips and texts."""
        return {"clips": len(clips), "texts": sum(len(clip.ids) for clip in clips)}

    def score(self, found: BothWays) -> tuple[float, float]:
        """Mean recall at 1, and the mean rank to tell equals apart."""
        return score_of(found)

    def cells(self, told: Mapping[str, Any]) -> list[list[str]]:
        """Two rows: way, recalls, median and mean rank."""
        return [
            [way, *_written(told[key])]
            for way, key in (("clip to text", "to_text"), ("text to clip", "to_video"))
        ]


def _written(one: Mapping[str, Any]) -> list[str]:
    recalls = [f"{100 * one[f'recall@{k}']:.1f} %" for k in AT]
    return [*recalls, f"{one['median_rank']:g}", f"{one['mean_rank']:.2f}"]
