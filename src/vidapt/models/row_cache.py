"""What a language model remembers of rows that are being read and written: keys and values, or states.

All rows share columns, and shorter rows are padded in front, so that a token of every row is written at once.
Room for some columns is made ahead: a token is then written into it, and nothing is copied.
"""

from __future__ import annotations

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
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

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
        assert self._room is not None
        mine = [(self.keys, self.values, kept.to(self.keys.device))]
        if others is not None:
            mine.append((others.keys, others.values, torch.arange(len(others.keys), device=self.keys.device)))
        rows = sum(len(index) for *_, index in mine)
        wide = columns + max(_LEAST_AHEAD, columns // _SHARE_AHEAD)
        # Keys of padding are not looked at, but a value that is no number would spread all the same.
        room = tuple(part.new_zeros(rows, part.shape[1], wide, part.shape[-1]) for part in self._room)
        at = 0
        for keys, values, index in mine:
            width = min(columns, keys.shape[-2])
            for new, old in zip(room, (keys, values), strict=True):
                new[at : at + len(index), :, columns - width : columns] = old[
                    index, :, old.shape[-2] - width :
                ]
            at += len(index)
        self._room = room  # type: ignore[assignment]
        self._show(columns)


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
