"""One training step's clips and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import Tensor

from vidapt.models.packed import Group, Packed, Span, pack
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features
from vidapt.training.data import ClipSamples
from vidapt.training.footage import Footage, see_frozen
from vidapt.training.order import Visit


class StageBatch:
    """What `objectives` call a batch; see `objectives._contract.Batch`.

    Args:
        model: Lays out positions and computes features.
        footage: Gives views or features.
        clips: All clips of the stage.
        visits: Who takes part.
        truth: Columns of a simulator's state, one row per clip of the stage.
        shared_prefix: Whether a clip's samples stand behind one copy of its tokens.
        flex: Attend by FlexAttention.
    """

    def __init__(
        self,
        model: VideoLM,
        footage: Footage,
        clips: Sequence[ClipSamples],
        visits: Sequence[Visit],
        truth: Mapping[str, Tensor],
        *,
        shared_prefix: bool,
        flex: bool = False,
    ) -> None:
        self._model, self._footage, self._clips, self._visits = model, footage, clips, visits
        self._shared, self._flex = shared_prefix, flex
        rows = [visit.clip for visit in visits]
        self.truth = {name: column[rows].to(model.device) for name, column in truth.items()}

    @property
    def media(self) -> list[Clip]:
        """The clips in the order in which their visual tokens are read."""
        return [clip for visit in self._visits for clip in self._clips[visit.clip].media]

    @cached_property
    def views(self) -> list[Tensor]:
        """[N, T, 3, H, W] uint8."""
        return [v.to(self._model.device) for v in self._footage.views(self.media)]

    @cached_property
    def features(self) -> list[Features]:
        """From the cache, or of the tower as it is now; one row per clip and row of text."""
        return self._seen if self._shared else _repeated(self._seen, self._reading_order())

    @cached_property
    def _seen(self) -> list[Features]:
        """One row per clip."""
        if self._footage.keeps == "features":
            return self._footage.features(self.media)
        if self._footage.tower_trains:
            return [self._model.see(views) for views in self.views]
        return [see_frozen(self._model, views) for views in self.views]

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
        spans: list[Span] = [
            self._model.connector.plan(f.grid) for f in self._seen for _ in range(f.x.shape[0])
        ]
        groups: list[Group] = []
        first = 0
        for visit in self._visits:
            clip = self._clips[visit.clip]
            own = tuple(spans[first : first + len(clip.media)])
            first += len(clip.media)
            encoded = tuple(clip.encoded[i] for i in visit.samples)
            rows = [encoded] if self._shared else [(e,) for e in encoded]
            groups += [Group(row, own) for row in rows]
        return pack(groups, self._model.positions, flex=self._flex).to(self._model.device)


def _repeated(seen: Sequence[Features], order: Sequence[int]) -> list[Features]:
    """Features of clips in `order`; stacked ones stay stacked."""
    if len(seen) == 1:
        (features,) = seen
        return [Features(features.x[order], None if features.extra is None else features.extra[order])]
    return [seen[i] for i in order]
