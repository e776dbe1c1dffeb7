"""Retrieval while a tower is aligned: on what it adapts to and on what it should not forget."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.gauges.contrast import mean_area
from vidapt.metrics.retrieval import BothWays, both_ways, dual_softmax
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.folder import CARD
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.align.names import BEST
from vidapt.training.align.retrieve import clip_vectors, score_of, text_vectors
from vidapt.training.footage import Footage

Save = Callable[[Path, Mapping[str, Any]], None]
"""Writes the model as it is into a folder, with these numbers on its card."""


@dataclass(frozen=True)
class Measure:
    """Measures a model on sets of clips, and keeps the best by each.

    Attributes:
        model: It is put into evaluation mode and left there.
        footage: Gives views; where it keeps features, they are used.
        sets: Clips and their captions, by the set's name.
        clips: Clips, and texts, computed together.
        folder: Best models go into `best-NAME` in here.
        save: Writes one.
    """

    model: DualEncoder
    footage: Footage
    sets: Mapping[str, Sequence[ClipCaptions]]
    clips: int
    folder: Path
    save: Save

    def __call__(self, step: int) -> dict[str, float]:
        """Numbers of every set by name, once so many steps are done."""
        self.model.eval()
        told: dict[str, float] = {}
        for name, clips in self.sets.items():
            videos = clip_vectors(self.model, self.footage, clips, self.clips)
            texts = text_vectors(self.model, [ids for clip in clips for ids in clip.ids], self.clips)
            about = [number for number, clip in enumerate(clips) for _ in clip.ids]
            scores = videos @ texts.T
            plain, shared = both_ways(scores, about), both_ways(scores, about, change=dual_softmax)
            told |= {f"{name}/{key}": value for key, value in _numbers(plain).items()}
            told |= {f"{name}/dual_softmax/{key}": value for key, value in _numbers(shared).items()}
            told |= {f"{name}/{key}": value for key, value in self._told_apart(clips, videos, texts).items()}
            self._keep_best(name, plain, step)
        return told

    def _told_apart(self, clips: Sequence[ClipCaptions], videos: Tensor, texts: Tensor) -> dict[str, float]:
        """How well true texts are told from falsified copies, and with the frames in another order."""
        rows = [ids for clip in clips for copies in clip.false for ids in copies]
        if not rows:
            return {}
        false = text_vectors(self.model, rows, self.clips)
        told = {"told_apart": mean_area(_pairs(clips, videos, texts, false))}
        if self.footage.keeps != "features":
            shuffled = clip_vectors(self.model, self.footage, clips, self.clips, shuffled=True)
            told["told_apart_shuffled"] = mean_area(_pairs(clips, shuffled, texts, false))
        return {key: value for key, value in told.items() if value is not None}

    def _keep_best(self, name: str, found: BothWays, step: int) -> None:
        """Save the model if no earlier one was as good; a resumed run comes to the same decision."""
        folder, score = self.folder / f"{BEST}{name}", score_of(found)
        if (folder / CARD).is_file():
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            if tuple(card["score"]) >= score:
                return
        numbers = {"set": name, "step": step, "score": list(score), "retrieval": found.to_dict()}
        self.save(folder, numbers)


def _pairs(
    clips: Sequence[ClipCaptions], videos: Tensor, texts: Tensor, false: Tensor
) -> list[tuple[list[float], list[float]]]:
    """Of each clip its cosines with its texts, and with their falsified copies."""
    pairs, at, at_false = [], 0, 0
    for clip, video in zip(clips, videos, strict=True):
        own, copies = len(clip.ids), sum(map(len, clip.false))
        pairs.append(
            ((texts[at : at + own] @ video).tolist(), (false[at_false : at_false + copies] @ video).tolist())
        )
        at, at_false = at + own, at_false + copies
    return pairs


def _numbers(found: BothWays) -> dict[str, float]:
    ways = {"to_text": found.to_text, "to_video": found.to_video}
    told: dict[str, float] = {}
    for way, one in ways.items():
        told |= {f"{way}/recall@{k}": value for k, value in one.recall.items()}
        told |= {f"{way}/median_rank": one.median_rank, f"{way}/mean_rank": one.mean_rank}
    return told
