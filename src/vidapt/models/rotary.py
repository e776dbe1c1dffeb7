"""Rotary positions whose frequencies follow from the length of what is read: each row has those of its own.

transformers takes one set of frequencies for a whole batch, by its highest position (`dynamic_rope_update`):
of kind `dynamic` those for that length, once it is beyond the original one (and as many positions more as are
read later), of kind `longrope` the short or the long set. Rows beside a longer one would then be read in
another way than alone. Here rows of one rule go through the module together, and rows of another one apart,
each as if nothing had been read before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_DYNAMIC, _LONG = "dynamic", "longrope"
_FIXED = "default"
"""What a module is told to be of while its frequencies are to stay."""


def kinds_of(module: nn.Module) -> set[str]:
    """Kinds of rotary positions of a module; some have one for each kind of layer."""
    found = getattr(module, "rope_type", None)
    return set(found.values()) if isinstance(found, Mapping) else {found} if isinstance(found, str) else set()


def varying(language: nn.Module) -> tuple[nn.Module, ...]:
    """Modules of a language model whose frequencies follow from the length of what is read."""
    return tuple(one for one in language.modules() if kinds_of(one) & {_DYNAMIC, _LONG})


def original_length(modules: Sequence[nn.Module]) -> float:
    """Up to so many positions all frequencies are those that the model was made with."""
    return min((length for one in modules for length in _originals(one).values()), default=float("inf"))


@contextmanager
def each_by_itself(modules: Sequence[nn.Module], lengths: Tensor | None = None) -> Iterator[None]:
    """Let every row of what is read meanwhile have the frequencies of its own length.

    Args:
        modules: Those that `varying` gave.
        lengths: [B] how long each row counts at least, where more of it is read later than is now; None is
            what is read now.
    """
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(_forwarded(module, partial(_by_rows, module, lengths)))
        yield


@contextmanager
def _forwarded(module: Any, by_rows: Callable[..., Any]) -> Iterator[None]:
    """Put a forward in the place of a module's, which others may have replaced on the instance before."""
    before, own = module.__dict__.get("forward"), module.forward
    module.forward = partial(by_rows, own)
    try:
        yield
    finally:
        if before is None:
            with contextlib.suppress(AttributeError):
                del module.forward
        else:
            module.forward = before


def _by_rows(
    module: Any,
    lengths: Tensor | None,
    forward: Callable[..., Any],
    x: Tensor,
    position_ids: Tensor,
    *more: Any,
    **named: Any,
) -> tuple[Tensor, ...]:
    """What a rotary module gives, each row by its rule: [B, n, d] parts."""
    layer = named.get("layer_type", more[0] if more else None)
    rules = _rules(module, layer, position_ids, lengths)
    parts: tuple[Tensor, ...] = ()
    for rule in sorted(set(rules)):
        rows = torch.tensor([at for at, one in enumerate(rules) if one == rule], device=position_ids.device)
        own = position_ids.index_select(-2, rows)
        _set(module, rule, forward, x, position_ids, *more, **named)
        with _fixed(module):
            found = forward(x, own, *more, **named)
        if len(rows) == len(rules):
            parts = found
        else:
            axis = found[0].ndim - 3  # of the rows; the axes of a position may stand before them
            if not parts:
                shape = (*found[0].shape[:axis], len(rules), *found[0].shape[axis + 1 :])
                parts = tuple(one.new_empty(shape) for one in found)
            for whole, part in zip(parts, found, strict=True):
                whole.index_copy_(axis, rows.to(whole.device), part)
    if set(rules) != {1}:
        _set(module, 1, forward, x, position_ids, *more, **named)  # whoever reads next begins anew
    return parts


def _rules(module: Any, layer: str | None, position_ids: Tensor, lengths: Tensor | None) -> list[int]:
    """For each row a length whose frequencies are its own; equal ones have the same."""
    axes = [axis for axis in range(position_ids.ndim) if axis != position_ids.ndim - 2]
    found = position_ids.amax(axes) + 1
    if lengths is not None:
        found = torch.maximum(found, lengths.to(found))
    original, kind = _originals(module)[layer], module.rope_type
    kind = kind[layer] if isinstance(kind, Mapping) else kind
    most = original + 1 if kind == _LONG else float("inf")
    return [int(min(one, most)) if one > original else 1 for one in found.tolist()]


def _set(
    module: Any, length: int, forward: Callable[..., Any], x: Tensor, places: Tensor, *more: Any, **named: Any
) -> None:
    """Let a module take the frequencies of a length, as it does where nothing was read before."""
    for reached in dict.fromkeys((1, length)):
        at = places.new_full((*places.shape[:-2], 1, 1), reached - 1)
        forward(x[:1, :1], at, *more, **named)


@contextmanager
def _fixed(module: Any) -> Iterator[None]:
    """Let a module's frequencies be what they are, whatever is read."""
    kind = module.rope_type
    module.rope_type = dict.fromkeys(kind, _FIXED) if isinstance(kind, Mapping) else _FIXED
    try:
        yield
    finally:
        module.rope_type = kind


def _originals(module: Any) -> dict[str | None, float]:
    """The original length, for each kind of layer where there are several."""
    kinds, told = module.rope_type, module.config.rope_parameters
    if isinstance(kinds, Mapping):
        return {layer: _original(module, kind, told[layer]) for layer, kind in kinds.items()}
    return {None: _original(module, kinds, told)}


def _original(module: Any, kind: str, told: Mapping[str, Any]) -> float:
    if kind == _LONG:
        return float(told["original_max_position_embeddings"])
    return float(module.original_max_seq_len) if kind == _DYNAMIC else float("inf")
