"""One training step's clips and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vidapt.models.clip_rows import each_tensor, rows_of
from vidapt.models.packed import Group, Packed, Reading, pack, spell
from vidapt.models.reach import refuse_packed
from vidapt.models.text import Encoded, encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Seen, Views
from vidapt.recipe import Batching
from vidapt.training.data import ClipSamples, without_clips
from vidapt.training.footage import Footage
from vidapt.training.order import Visit

_Shown = tuple[tuple[Clip, ...], tuple[Encoded, ...]]
"""The clips and the samples of a visit."""


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
        self._model, self._footage = model, footage
        self._tokenizer, self._shared, self._flex = tokenizer, batching.shared_prefix, batching.flex
        self._shown = [shown(clips[visit.clip], visit, model, tokenizer) for visit in visits]
        rows = [visit.clip for visit in visits]
        self.truth = {name: column[rows].to(model.device) for name, column in truth.items()}

    def __len__(self) -> int:
        """How many clips (or combinations of clips) take part."""
        return len(self._shown)

    def __str__(self) -> str:
        clips = ", ".join(str(clip.path) for clip, _ in self.media) or "a question without its clip"
        return f"{clips} ({self.tokens} tokens)"

    @property
    def tokens(self) -> int:
        """How many the language model reads, without padding."""
        layout = self.packed.layout
        return int(layout.valid.sum()) + int((layout.owner >= 0).sum())

    @property
    def media(self) -> list[tuple[Clip, int]]:
        """The clips in the order in which they are read, each with the number it is read together with."""
        return [(clip, len(media)) for media, _ in self._shown for clip in media]

    def ready(self) -> None:
        """Have at hand all that depends on no weight that learns."""
        _ = self._once if self._footage.keeps == "features" else self._cut
        _ = self.packed

    @cached_property
    def _cut(self) -> list[Views]:
        """The clips as they are cut, on the CPU."""
        return [pinned(cut, self._model.device) for cut in self._footage.views(self.media)]

    @cached_property
    def views(self) -> list[Views]:
        """The clips as they are cut."""
        device = self._model.device
        return [
            replace(cut, tensors=tuple(tensor.to(device, non_blocking=True) for tensor in cut.tensors))
            for cut in self._cut
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
        for media, encoded in self._shown:
            order += list(range(first, first + len(media))) * len(encoded)
            first += len(media)
        return order

    @cached_property
    def packed(self) -> Packed:
        """The text behind its prefixes."""
        # Of clips as they are cut, where they are: text is laid out before anything is computed.
        kept = self._footage.keeps == "features"
        shapes: Sequence[Seen | Views] = self._once if kept else self._cut
        layouts = [
            (layout, when)
            for one in shapes
            for layout, when in zip(
                self._model.layouts(one), one.moments or (None,) * rows_of(one), strict=True
            )
        ]
        groups: list[Group] = []
        first = 0
        for media, encoded in self._shown:
            own: tuple[Reading, ...] = tuple(
                spell(layout, index, self._tokenizer, when)
                for index, (layout, when) in enumerate(layouts[first : first + len(media)])
            )
            first += len(media)
            rows = [encoded] if self._shared else [(e,) for e in encoded]
            groups += [Group(row, own) for row in rows]
        packed = pack(groups, self._model.positions, flex=self._flex)
        refuse_packed(self._model, packed)
        return packed.to(self._model.device)


def pinned(cut: Views, device: torch.device) -> Views:
    """Views in memory from which a GPU fetches while it computes; the same for other devices."""
    if device.type != "cuda":
        return cut
    return replace(cut, tensors=tuple(tensor.pin_memory() for tensor in cut.tensors))


def shown(clip: ClipSamples, visit: Visit, model: VideoLM, tokenizer: Any) -> _Shown:
    """What a visit reads: its clips, unless it is blind, and its samples."""
    if visit.blind:
        prompt = model.blueprint.prompt
        samples = (without_clips(clip.samples[index]) for index in visit.samples)
        pairs = zip(samples, (clip.encoded[index] for index in visit.samples), strict=True)
        return (), tuple(
            replace(encode(one, prompt, tokenizer), weight=sighted.weight, each=sighted.each)
            for one, sighted in pairs
        )
    return clip.media, tuple(clip.encoded[index] for index in visit.samples)


def _repeated(seen: Sequence[Seen], order: Sequence[int]) -> list[Seen]:
    """Clips in `order`; stacked ones stay stacked."""
    if len(seen) == 1:
        (stacked,) = seen
        features = tuple(each_tensor(one, lambda tensor: tensor[order]) for one in stacked.features)
        return [
            replace(
                stacked,
                features=features,
                moments=tuple(stacked.moments[i] for i in order if stacked.moments),
                kept=tuple(stacked.kept[i] for i in order if stacked.kept),
            )
        ]
    return [seen[i] for i in order]
