"""One training step's clips and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor

from vidapt.models.packed import Group, Packed, Reading, pack, spell
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features, Seen, Views
from vidapt.recipe import Batching
from vidapt.training.data import ClipSamples
from vidapt.training.footage import Footage
from vidapt.training.order import Visit


class StageBatch:
    """What `objectives` call a batch; see `objectives._contract.Batch`.

    Args:
        model: Lays out positions and computes features.
        tokenizer: Its tokenizer, for the text between a clip's visual tokens.
        footage: Gives views or features.
        clips: All clips of the stage.
        visits: Who takes part.
        truth: Columns of a simulator's state, one row per clip of the stage.
        batching: How samples are laid out.
    """

    def __init__(
        self,
        model: VideoLM,
        tokenizer: Any,
        footage: Footage,
        clips: Sequence[ClipSamples],
        visits: Sequence[Visit],
        truth: Mapping[str, Tensor],
        batching: Batching,
    ) -> None:
        self._model, self._footage, self._clips, self._visits = model, footage, clips, visits
        self._tokenizer, self._shared, self._flex = tokenizer, batching.shared_prefix, batching.flex
        rows = [visit.clip for visit in visits]
        self.truth = {name: column[rows].to(model.device) for name, column in truth.items()}

    @property
    def media(self) -> list[tuple[Clip, int]]:
        """The clips in the order in which they are read, each with the number it is read together with."""
        conversations = [self._clips[visit.clip].media for visit in self._visits]
        return [(clip, len(media)) for media in conversations for clip in media]

    @cached_property
    def views(self) -> list[Views]:
        """The clips as they are cut."""
        device = self._model.device
        return [
            replace(cut, tensors=tuple(tensor.to(device) for tensor in cut.tensors))
            for cut in self._footage.views(self.media)
        ]

    @cached_property
    def seen(self) -> list[Seen]:
        """From the cache, or of the towers as they are now; one row per clip and row of text."""
        return self._once if self._shared else _repeated(self._once, self._reading_order())

    @cached_property
    def _once(self) -> list[Seen]:
        """One row per clip."""
        if self._footage.keeps == "features":
            return self._footage.seen(self.media)
        if self._footage.tower_trains:
            return self._model.see_each(self.views)
        return [self._footage.see(views) for views in self.views]

    def _reading_order(self) -> list[int]:
        """Indices into `media` as separate samples read them: all clips of a sample, sample by sample."""
        order: list[int] = []
        first = 0
        for visit in self._visits:
            count = len(self._clips[visit.clip].media)
            order += list(range(first, first + count)) * len(visit.samples)
            first += count
        return order

    @cached_property
    def packed(self) -> Packed:
        """The text behind its prefixes."""
        layouts = [
            self._model.layout(seen.plan, seen.together)
            for seen in self._once
            for _ in range(len(seen.features[0].x))
        ]
        groups: list[Group] = []
        first = 0
        for visit in self._visits:
            clip = self._clips[visit.clip]
            own: tuple[Reading, ...] = tuple(
                spell(layouts[first + index], index, self._tokenizer) for index in range(len(clip.media))
            )
            first += len(clip.media)
            encoded = tuple(clip.encoded[i] for i in visit.samples)
            rows = [encoded] if self._shared else [(e,) for e in encoded]
            groups += [Group(row, own) for row in rows]
        return pack(groups, self._model.positions, flex=self._flex).to(self._model.device)


def _repeated(seen: Sequence[Seen], order: Sequence[int]) -> list[Seen]:
    """Clips in `order`; stacked ones stay stacked."""
    if len(seen) == 1:
        (stacked,) = seen
        return [replace(stacked, features=tuple(_rows(f, order) for f in stacked.features))]
    return [seen[i] for i in order]


def _rows(features: Features, order: Sequence[int]) -> Features:
    return Features(features.x[order], None if features.extra is None else features.extra[order])
