"""What a language model remembers of rows that are being read and written: keys and values, or states.

All rows share columns, and shorter rows are padded in front, so that a token of every row is written at once.
Room for some columns is made ahead: a token is then written into it, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from vidapt.models.delta_net import DeltaLayer, layers_with_state

_LEAST_AHEAD, _SHARE_AHEAD = 32, 8
"""Columns for which room is made at once: so many, or so much of those that are there."""


class RowLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, [B, heads, columns, D] each.

    Attributes:
        keys: Those read so far, as a view of the room that there is.
        values: The same.
        before: Keys and values of prefixes that rows stand behind, [prefixes, heads, columns, D] each; None
            where rows hold all of their own.
    """

    keys: Any
    values: Any

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None
        self.before: tuple[Tensor, Tensor] | None = None

    def share(self) -> None:
        """Let what was read be prefixes, behind which rows begin."""
        self.before, self._room = (self.keys, self.values), None
        self.keys = self.values = None
        self.is_initialized = False

    def regroup_shared(
        self, mine: Tensor, theirs: RowLayer | None, other: Tensor | None, columns: int
    ) -> None:
        """Keep some prefixes, put some of others behind them, and let all have so many columns."""
        parts = [(*self._prefixes(mine), mine)]
        if theirs is not None and other is not None:
            parts.append((*theirs._prefixes(other), other))
        placed = [(keys, values, index.to(keys.device)) for keys, values, index in parts]
        self.before = _stacked(placed, columns, columns)

    def _prefixes(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all prefixes; where there was nothing to read, of no columns."""
        if self.before is not None:
            return self.before
        count = int(wanted.max()) + 1
        keys, values = (part.new_zeros(count, part.shape[1], 0, part.shape[3]) for part in self._both)
        return keys, values

    @property
    def _both(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add columns; returns the keys and values of all."""
        done = 0 if self.keys is None else self.keys.shape[-2]
        end = done + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < end:
            self._make_room(key_states, value_states, end)
        assert self._room is not None
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, done:end] = new
        self._show(end)
        return self.keys, self.values

    def _make_room(self, key_states: Tensor, value_states: Tensor, columns: int) -> None:
        old = () if self.keys is None else (self.keys, self.values)
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        # What is read first is mostly all that will be: a prefix is followed by its questions alone.
        columns += max(_LEAST_AHEAD, columns // _SHARE_AHEAD)
        self._room = tuple(  # type: ignore[assignment]
            new.new_empty(*new.shape[:2], columns, new.shape[-1]) for new in (key_states, value_states)
        )
        assert self._room is not None
        for room, kept in zip(self._room, old, strict=False):
            room[:, :, : kept.shape[-2]] = kept

    def _show(self, columns: int) -> None:
        assert self._room is not None
        self.keys, self.values = (room[:, :, :columns] for room in self._room)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep (or repeat) rows by index."""
        if self.keys is not None:
            self.regroup(indices, None, self.keys.shape[-2])

    def regroup(self, kept: Tensor, others: RowLayer | None, columns: int) -> None:
        """Keep some rows, put others behind them, and let all have so many columns.

        Args:
            kept: [K] long.
            others: Rows to be added; None for none.
            columns: At least as many as any of these rows has real ones. Rows with fewer are padded in front;
                what lies before is dropped.
        """
        mine = [(self.keys, self.values, kept.to(self.keys.device))]
        if others is not None:
            mine.append((others.keys, others.values, torch.arange(len(others.keys), device=self.keys.device)))
        self._room = _stacked(mine, columns, columns + max(_LEAST_AHEAD, columns // _SHARE_AHEAD))
        self._show(columns)


def _stacked(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]], columns: int, room: int
) -> tuple[Tensor, Tensor]:
    """Keys and values of some rows of several, the last column of each at `columns`, in room for more.

    Args:
        parts: Keys, values, and which rows of them.
        columns: Rows with fewer are padded in front; what lies before is dropped.
        room: How many columns there are to be in all.
    """
    rows = sum(len(index) for *_, index in parts)
    keys, values, _ = parts[0]
    # Keys of padding are not looked at, but a value that is no number would spread all the same.
    made = [part.new_zeros(rows, part.shape[1], room, part.shape[-1]) for part in (keys, values)]
    at = 0
    for *both, index in parts:
        width = min(columns, both[0].shape[-2])
        for new, old in zip(made, both, strict=True):
            start = old.shape[-2] - width
            new[at : at + len(index), :, columns - width : columns] = old[index, :, start:]
        at += len(index)
    return made[0], made[1]


def row_cache(language: Any) -> Any:
    """An empty cache for a language model's layers.

    Layers with a sliding window keep all columns, too: one that keeps the last ones would count padding among
    them and drop real tokens of shorter rows.
    """
    states = layers_with_state(language)
    if not states:
        return Cache(layer_class_to_replicate=RowLayer)
    count = language.config.get_text_config().num_hidden_layers
    return Cache(layers=[states.get(number, RowLayer)() for number in range(count)])


def select_rows(cache: Any, index: Tensor) -> None:
    """Keep (or repeat) rows by index, in place."""
    # Where layers lie on several devices, each one's keys and values lie there, too.
    for layer in cache.layers:
        if isinstance(layer, DeltaLayer) or layer.keys is not None:
            layer.batch_select_indices(index)


def regroup_rows(cache: Any, kept: Tensor, others: Any, columns: int) -> None:
    """Keep some rows, put those of another cache behind them, and let all have so many columns.

    Args:
        cache: Of rows that were read; changed in place.
        kept: [K] long.
        others: A cache of the same layers; None for none.
        columns: As many as the longest row has, or more.
    """
    more = [None] * len(cache.layers) if others is None else others.layers
    for layer, other in zip(cache.layers, more, strict=True):
        layer.regroup(kept, other, columns)


def remembered(cache: Any) -> int:
    """Bytes of the keys and values of all columns and rows; states, which do not grow, are not counted."""
    kept = [layer for layer in cache.layers if isinstance(layer, RowLayer) and layer.keys is not None]
    return sum(part.numel() * part.element_size() for layer in kept for part in (layer.keys, layer.values))


def share_rows(cache: Any) -> None:
    """Let what was read be prefixes, behind which rows begin."""
    for layer in cache.layers:
        layer.share()


def regroup_shared(cache: Any, mine: Tensor, others: Any, other: Tensor | None, columns: int) -> None:
    """Keep some prefixes, put some of another cache behind them, and let all have so many columns.

    Args:
        cache: Changed in place.
        mine: Which of its prefixes are kept.
        others: A cache of the same layers; None for none.
        other: Which of its prefixes are taken.
        columns: As many as the longest prefix has, or more.
    """
    more = [None] * len(cache.layers) if others is None else others.layers
    for layer, one in zip(cache.layers, more, strict=True):
        layer.regroup_shared(mine, one, other, columns)
