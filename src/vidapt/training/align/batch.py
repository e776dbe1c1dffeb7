"""One alignment step's clips and texts; see `objectives._pairs_batch.PairsBatch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_text import padded
from vidapt.nouns import Features
from vidapt.training.ahead import Item
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.footage import Footage
from vidapt.training.order import Visit


class PairBatch:
    """A step's clips and texts.

    Args:
        model: Says where tensors go.
        footage: Gives views or features.
        clips: All clips of the stage.
        groups: A number for each of them.
        visits: Who takes part.
        tokens: Pad texts to so many tokens; None pads to the longest.
        lessons: By name of a teacher, what it saw of the clips.
    """

    def __init__(
        self,
        model: DualEncoder,
        footage: Footage,
        clips: Sequence[ClipCaptions],
        groups: Sequence[int],
        visits: Sequence[Visit],
        tokens: int | None,
        lessons: Mapping[str, Footage],
    ) -> None:
        self._device, self._footage, self._lessons = model.device, footage, lessons
        self._items: list[Item] = [(clips[visit.clip].media[0], 1) for visit in visits]
        of = [(row, visit.clip, caption) for row, visit in enumerate(visits) for caption in visit.samples]
        false = [(text, ids) for text, (_, clip, cap) in enumerate(of) for ids in clips[clip].false[cap]]
        rows = [clips[clip].ids[caption] for _, clip, caption in of] + [ids for _, ids in false]
        self.ids, self.real = (tensor.to(self._device) for tensor in padded(rows, tokens))
        self.clip_of = self._long([row for row, *_ in of])
        self.group = self._long([groups[visit.clip] for visit in visits])
        self.false_of = self._long([text for text, _ in false])

    def _long(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._device)

    @cached_property
    def tokens(self) -> int:
        """How many of texts the text tower reads, without padding."""
        return int(self.real.sum())

    def ready(self) -> None:
        """Have at hand all that depends on no weight that learns."""
        _ = self.features if self._footage.keeps == "features" else self.views

    @cached_property
    def features(self) -> Features | None:
        """What a frozen tower saw, where it is kept."""
        if self._footage.keeps != "features":
            return None
        seen = [one.features[0] for one in self._footage.seen(self._items)]
        extra = [one.extra for one in seen if one.extra is not None]
        return Features(_joined([one.x for one in seen]), _joined(extra) if extra else None)

    def taught(self, name: str) -> Features:
        """What a teacher saw of the clips; only what has a place.

        Raises:
            ConfigError: If nobody is called so, or it saw different numbers of frames.
        """
        if name not in self._lessons:
            raise ConfigError(f"teacher {name}", "teaches nothing in this stage")
        seen = [one.features[0].x for one in self._lessons[name].seen(self._items)]
        return Features(_joined(seen).to(self._device))

    @cached_property
    def views(self) -> Tensor | None:
        """[N, T, 3, h, w], where features are not kept."""
        if self._footage.keeps == "features":
            return None
        return stacked_views(self._footage, self._items).to(self._device)


def stacked_views(footage: Footage, items: Sequence[Item]) -> Tensor:
    """[N, T, 3, h, w] of clips, whatever their files' sizes."""
    return _joined([cut.tensors[0] for cut in footage.views(items)])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) > 1:
        raise ConfigError(
            "dual.frames",
            f"clips become tensors of different shapes: {sorted(shapes)[:3]}",
            "read the same number of frames of each: {policy: uniform, count: 12}",
        )
    return torch.cat(list(tensors))
