"""What a language model remembers of rows that are being read and written: keys and values, or states."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from vidapt.models.delta_net import DeltaLayer, layers_with_state


def row_cache(language: Any) -> Any:
    """An empty cache for a language model's layers.

    Without a configuration transformers' cache keeps all columns: one that keeps a sliding window's last
    columns would count padding among them and drop real tokens of shorter rows.
    """
    states = layers_with_state(language)
    if not states:
        return DynamicCache()
    count = language.config.get_text_config().num_hidden_layers
    return Cache(layers=[states.get(number, DynamicLayer)() for number in range(count)])


def select_rows(cache: Any, index: Tensor) -> None:
    """Keep (or repeat) rows by index, in place."""
    # Where layers lie on several devices, each one's keys and values lie there, too.
    for layer in cache.layers:
        if isinstance(layer, DeltaLayer):
            layer.batch_select_indices(index)
        elif layer.keys is not None:
            layer.batch_select_indices(index.to(layer.keys.device))
