"""A stage's clips as tensors without memory, of the shapes that `training.footage` will give."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vidapt.models.clip_rows import each_tensor
from vidapt.nouns import Clip, Moments, Plan, Seen, Views
from vidapt.planning.shapes import Shapes
from vidapt.planning.weightless import Weightless
from vidapt.recipe import Stage
from vidapt.training.ahead import Item
from vidapt.training.cache import kept_by
from vidapt.training.eyes import Eyes, converted


class ImaginedFootage:
    """Stands for `Footage` where a step is planned.

    Args:
        model: A model without weights.
        stage: What is kept, and in which precision towers compute.
        objective: Says whether pixels, or the towers' own features, are looked at.
        shapes: Of all clips.
        weightless: Makes tensors.
        tower_trains: Whether towers learn.
    """

    note = ""

    def __init__(
        self,
        model: Eyes,
        stage: Stage,
        objective: Any,
        shapes: Shapes,
        weightless: Weightless,
        *,
        tower_trains: bool,
    ) -> None:
        self.model, self.tower_trains = model, tower_trains
        self._shapes, self._weightless = shapes, weightless
        self._halves = stage.precision == "bfloat16"
        self._shrinks = not getattr(objective, "reads_features", True)
        needs_views = getattr(objective, "needs_views", False)
        self.keeps = kept_by(stage.cache, tower_trains=tower_trains, needs_views=needs_views)

    def begin(self, step: int) -> dict[Clip, str]:
        """No clip is broken."""
        del step
        return {}

    def follow(self, items: Callable[[int], Sequence[Item]], steps: int) -> None:
        """Nothing is decoded ahead."""
        del items, steps

    def views(self, items: Sequence[Item]) -> list[Views]:
        """Views of clips, all stacked where all plans are equal."""
        planned = [(*self._plan(item), item[1]) for item in items]
        if len({(plan, together) for plan, _, together in planned}) == 1:
            moments = tuple(when for _, when, _ in planned)
            return [self._cut(planned[0][0], moments, planned[0][2])]
        return [self._cut(plan, (when,), together) for plan, when, together in planned]

    def alike(self, item: Item) -> Hashable:
        """What clips have in common of which towers make tensors of the same shapes."""
        return self._plan(item)[0], item[1]

    def seen(self, items: Sequence[Item]) -> list[Seen]:
        """What is kept of clips, all stacked where all plans are equal."""
        return [self.see(views) for views in self.views(items)]

    @torch.no_grad()
    def see(self, views: Views) -> Seen:
        """What frozen towers see of N clips."""
        dtype = next(self.model.parameters()).dtype
        with torch.autocast("cpu", torch.bfloat16, enabled=self._halves):
            seen = self.model.see_views(views)
        seen = replace(seen, features=tuple(converted(one, dtype) for one in seen.features))
        if self._shrinks and self.model.shrinks(seen.plan, seen.together):
            with torch.autocast("cpu", enabled=False):
                seen = self.model.shrunk(seen)
        # As from a store: tensors of their own, and not views of larger ones.
        return replace(seen, features=tuple(each_tensor(one, torch.clone) for one in seen.features))

    def _plan(self, item: Item) -> tuple[Plan, Moments]:
        size, moments = self._shapes(item)
        return self.model.plan(size, len(moments.seconds), item[1])[0], moments

    def _cut(self, plan: Plan, moments: Sequence[Moments], together: int) -> Views:
        tensors: list[Tensor] = [
            self._weightless.tensor((len(moments), plan.frames, 3, *view.size), torch.uint8)
            for view in plan.views
        ]
        return Views(tuple(tensors), plan, together, tuple(itertools.chain(moments)))
