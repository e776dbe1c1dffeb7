"""How much a step reads, by plans and texts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vidapt.models.packed import Reading, reading_length, spell
from vidapt.models.reach import text_length
from vidapt.models.video_lm import VideoLM
from vidapt.planning.shapes import Shapes
from vidapt.recipe import Stage
from vidapt.training.ahead import Item
from vidapt.training.batch import shown
from vidapt.training.order import Visit
from vidapt.training.portions import portions
from vidapt.training.ready import StageData


@dataclass(frozen=True)
class StepLength:
    """What a step reads.

    Attributes:
        tokens: In all.
        widest: Positions of its largest portion, padding included.
    """

    tokens: int
    widest: int


@dataclass(frozen=True)
class _Row:
    """A visit: tokens that its samples share, and those of each behind that."""

    prefix: int
    own: Sequence[int]


class Lengths:
    """Lengths of a stage's steps and samples.

    Args:
        model: Its weights need not be there.
        tokenizer: The model's.
        stage: How samples are laid out.
        data: What it learns from.
        shapes: Of its clips.
    """

    def __init__(self, model: Any, tokenizer: Any, stage: Stage, data: StageData, shapes: Shapes) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._stage, self._data, self._shapes = stage, data, shapes
        self._known: dict[tuple[Item, int], int] = {}
        self._row: Callable[[Visit], _Row] = self._talked if isinstance(model, VideoLM) else self._aligned

    def step(self, visits: Sequence[Visit]) -> StepLength:
        """What a step of these visits reads."""
        rows = [self._row(visit) for visit in visits]
        if not self._stage.batching.shared_prefix:
            rows = [_Row(row.prefix, (own,)) for row in rows for own in row.own]
        widest = max(
            len(some) * (max(row.prefix for row in some) + max(sum(row.own) for row in some))
            for some in portions(rows, self._stage.batching.at_once)
        )
        return StepLength(sum(row.prefix + sum(row.own) for row in rows), widest)

    def sample(self, clip: int, index: int) -> int:
        """Tokens of a sample that is read alone."""
        row = self._row(Visit(clip, (index,)))
        return row.prefix + sum(row.own)

    def clip(self, item: Item, index: int = 0) -> int:
        """Tokens read of a clip; 0 for a dual encoder."""
        if not isinstance(self._model, VideoLM):
            return 0
        if (item, index) not in self._known:
            size, moments = self._shapes(item)
            layout = self._model.plan(size, len(moments.seconds), item[1])[1]
            reading: Reading = spell(layout, index, self._tokenizer, moments)
            self._known[item, index] = reading_length(reading)
        return self._known[item, index]

    def _talked(self, visit: Visit) -> _Row:
        media, encoded = shown(self._data.clips[visit.clip], visit, self._model, self._tokenizer)
        clips = sum(self.clip((clip, len(media)), index) for index, clip in enumerate(media))
        prefix = clips + text_length(encoded[0]) - len(encoded[0].ids)
        return _Row(prefix, [len(one.ids) for one in encoded])

    def _aligned(self, visit: Visit) -> _Row:
        clip = self._data.clips[visit.clip]
        false = [ids for index in visit.samples for ids in clip.false[index]]
        return _Row(0, [len(ids) for ids in [*(clip.ids[index] for index in visit.samples), *false]])
