"""Models that others describe are built no larger than the weights that are there.

A configuration is a claim. One that describes a thousand layers, or a vocabulary of billions, over weights of
a megabyte can fit nothing, but building it would take the memory and the time all the same: weights are made
before they are given up for those of the file, and tables of positions are made in any case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from vidapt.errors import CheckpointError

_SPARE_NUMBERS, _SPARE_WEIGHTS = 1 << 26, 500
"""What a model may have beside what is stored: tables that are computed, and parts that begin at random."""

_TIMES = 2
"""So many times what is stored: authors keep several weights in one tensor, and leave twins out."""

_SMALL = 1024
"""Tensors of so many numbers grow to nothing that matters, whatever is done with two of them."""

_MAKERS = frozenset(
    [
        *(torch.arange, torch.empty, torch.empty_strided, torch.eye, torch.full, torch.linspace),
        *(torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn, torch.randperm),
        *(torch.tril_indices, torch.triu_indices, torch.zeros),
    ]
)


@dataclass(frozen=True)
class Bound:
    """What the weights at hand leave room for.

    Attributes:
        where: File that describes the model.
        numbers: Of the largest tensor.
        weights: How many there may be.
        stored: How many there are in the files.
    """

    where: Path
    numbers: int
    weights: int
    stored: int

    @classmethod
    def of(cls, shapes: Iterable[Sequence[int]], where: Path) -> Bound:
        """The bound of stored tensors, by their shapes."""
        sizes = [prod(shape) for shape in shapes]
        return cls(
            where, _SPARE_NUMBERS + _TIMES * sum(sizes), _SPARE_WEIGHTS + _TIMES * len(sizes), len(sizes)
        )

    def refuse(self, what: str) -> CheckpointError:
        """The error of a description that goes beyond."""
        return CheckpointError(
            self.where,
            f"describes a model with {what}; the weights that are there are {self.stored} tensors",
            "the description is not that of these weights: fetch the folder again",
        )


@contextmanager
def bounded(bound: Bound) -> Iterator[None]:
    """Build modules within a bound.

    Raises:
        CheckpointError: As soon as they go beyond it.
    """
    builder = threading.get_ident()
    count = 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        del module, name
        count += parameter is not None and threading.get_ident() == builder
        if count > bound.weights:
            raise bound.refuse(f"more than {bound.weights} weights")

    handle = register_module_parameter_registration_hook(counted)
    try:
        with _Measured(bound):
            yield
    finally:
        handle.remove()


class _Measured(TorchFunctionMode):
    """What would become too large is known before it is made: its shape is computed on the meta device."""

    def __init__(self, bound: Bound) -> None:
        super().__init__()
        self._bound = bound

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        named = dict(kwargs or {})
        makes = func in _MAKERS
        if makes or any(_counts(one) for one in (*args, *named.values())):
            self._measure(func, args, {**named, "device": "meta"} if makes else named)
        return func(*args, **named)

    def _measure(self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> None:
        try:
            made = func(*tree_map(_on_meta, args), **tree_map(_on_meta, named))
        except Exception:  # noqa: BLE001 - what has no shape alone, or none at all, is told when it is made
            return
        sizes = [one.numel() for one in tree_leaves(made) if isinstance(one, Tensor)]
        if max(sizes, default=0) > self._bound.numbers:
            raise self._bound.refuse(f"a tensor of {max(sizes):,} numbers")


def _counts(value: Any) -> bool:
    several = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(one, Tensor) and not one.is_meta and one.numel() > _SMALL for one in several)


def _on_meta(value: Any) -> Any:
    return value.detach().to("meta") if isinstance(value, Tensor) else value
