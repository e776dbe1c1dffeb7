"""From what a recipe says of mixing and batching to the order of a stage's steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vidapt.errors import ConfigError
from vidapt.formats import MEDIUMS, medium_of
from vidapt.models.reach import Lengths
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import DataSource, Stage
from vidapt.training.order import Order, total_steps
from vidapt.training.picture_sizes import groups_of
from vidapt.training.ready import StageData
from vidapt.training.strata import Stratum, stratified, visits_of
from vidapt.training.streamed_clips import StreamedClips


def arranged(
    stage: Stage, data: StageData, seed: Sequence[int], blind: float, model: VideoLM, tokenizer: Any
) -> Order:
    """The order of a stage's steps.

    Args:
        stage: What the recipe says.
        data: Usable clips.
        seed: Seeds of the run and of the stage.
        blind: Share of visits without the clip.
        model: Tells how many tokens a clip is.
        tokenizer: The model's.

    Raises:
        ConfigError: If a source or a group of sizes would never be visited, or groups are to come one after
            another in a stage whose length is that of what it sees.
    """
    lengths = None
    if stage.batching.bucket == "length":
        lengths = _lengths(data, model, tokenizer)
    order = Order(data.clips, stage.batching, seed, blind, _strata(stage, data), lengths)
    sizes = stage.batching.sizes
    if sizes is not None and sizes.order == "curriculum":
        if stage.steps is None and stage.epochs is None:
            raise ConfigError(
                f"stage {stage.name}, batching.sizes.order",
                "groups that come one after another need a length that is known before",
                "give `steps` or `epochs`, or set `order: mixed`",
            )
        order.follow_one_another(total_steps(stage, order))
    return order


def _strata(stage: Stage, data: StageData) -> list[Stratum] | None:
    batching, where = stage.batching, f"stage {stage.name}"
    buckets = np.zeros(len(data.clips), np.int64)
    if batching.sizes is not None and batching.sizes.groups:
        groups = groups_of(batching.sizes, data.clips, f"{where}, batching.sizes")
        buckets = np.array(groups, np.int64) * len(MEDIUMS)
    if batching.media == "apart":
        buckets = buckets + _mediums(data)
    if stage.mix.by == "size" and not buckets.any():
        return None
    if stage.mix.by == "size":
        return stratified(np.zeros_like(buckets), buckets, [len(data.clips)])
    sources = _sources(data)
    visits = visits_of(stage.mix, data.sources, _sizes(sources, data.sources, where))
    for source, count in zip(data.sources, visits, strict=True):
        if not count:
            raise ConfigError(
                f"{where}, mix", f"no clip of {source.path} would ever be visited", "raise its weight"
            )
    return stratified(sources, buckets, visits)


def _sizes(sources: np.ndarray, given: Sequence[DataSource], where: str) -> list[int]:
    counts = np.bincount(sources, minlength=len(given)).tolist()
    for source, count in zip(given, counts, strict=True):
        if not count:
            raise ConfigError(
                f"{where}, mix", f"none of the clips of {source.path} can be used", "see quarantine.jsonl"
            )
    return [int(count) for count in counts]


def _sources(data: StageData) -> np.ndarray:
    if isinstance(data.clips, StreamedClips):
        return data.clips.groups.sources
    return np.array([clip.source for clip in data.clips])


def _mediums(data: StageData) -> np.ndarray:
    if isinstance(data.clips, StreamedClips):
        return data.clips.groups.mediums.astype(np.int64)
    return np.array([medium_of(clip.media) for clip in data.clips], np.int64)


def _lengths(data: StageData, model: VideoLM, tokenizer: Any) -> np.ndarray:
    """Tokens of every clip's row; of labels that are read row by row the letters of their texts."""
    if isinstance(data.clips, StreamedClips):
        return data.clips.groups.letters
    known = Lengths(model, tokenizer)
    return np.array([known.tokens(clip) for clip in data.clips])
