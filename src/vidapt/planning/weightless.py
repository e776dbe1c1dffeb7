"""Models that take no memory, and an account of the memory their tensors would take.

A stage's own step is carried out on tensors that have shapes and no numbers, so that what a plan says is what
the step does, whatever it is made of. Text, masks and positions are real: they are small, and decide shapes.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

M = TypeVar("M", bound=nn.Module)

# Their own constructors have no types.
_FakeTensorMode: Any = FakeTensorMode
_FakeTensor: Any = FakeTensor


def _one(tensor: Tensor) -> float:
    """A number for a log, or a check that passes."""
    del tensor
    return 1.0


def _everywhere(tensor: Tensor) -> Tensor:
    """All places: [numbers, axes] long. As many as there can be, so that nothing is planned too small."""
    axes = [torch.arange(length) for length in tensor.shape]
    return torch.cartesian_prod(*axes).reshape(-1, max(1, len(axes)))


def _places(index: Tensor | None) -> Sequence[Tensor | None]:
    """An index by truths as one by places, for every axis of it."""
    if index is None or index.dtype != torch.bool:
        return (index,)
    return (_everywhere(index) if isinstance(index, FakeTensor) else index.nonzero()).unbind(1)


_INDEX = torch.ops.aten.index.Tensor
_BY_NUMBERS: dict[Any, Callable[[Tensor], Any]] = {
    torch.ops.aten._local_scalar_dense.default: _one,
    torch.ops.aten.nonzero.default: _everywhere,
}
"""Operations whose results depend on numbers that are not there, and what they give instead."""


class Weightless:
    """Makes tensors and modules without memory that can be computed with together."""

    def __init__(self) -> None:
        self._mode: Any = _FakeTensorMode(allow_non_fake_inputs=True)

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of some shape, on the CPU as far as it tells."""
        return self._fake(torch.empty(tuple(shape), dtype=dtype, device="meta"))

    def module(self, module: M, formats: Mapping[int, torch.dtype] | None = None) -> M:
        """A copy of a module whose parameters have no memory; its buffers are its own.

        Args:
            module: Of real, mapped or empty parameters.
            formats: Number formats of parameters by their `id`, where they are to be others.
        """
        chosen = formats or {}
        memo: dict[int, Any] = {}
        for weight in module.parameters():
            empty = torch.empty(weight.shape, dtype=chosen.get(id(weight), weight.dtype), device="meta")
            memo[id(weight)] = nn.Parameter(self._fake(empty), requires_grad=weight.requires_grad)
        return copy.deepcopy(module, memo)

    def _fake(self, empty: Tensor) -> Tensor:
        made: Tensor = _FakeTensor(self._mode, empty, torch.device("cpu"))
        return made


class Account(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made while it is active, until they are let go.

    Attributes:
        now: Bytes of those that are there.
        peak: The most there ever were.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out an operation, and count what it makes."""
        if func in _BY_NUMBERS and isinstance(args[0], FakeTensor):
            return _BY_NUMBERS[func](args[0])
        if func is _INDEX and isinstance(args[0], FakeTensor):
            args = (args[0], [one for index in args[1] for one in _places(index)])
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        return made

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor; one whose memory is counted already adds nothing."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._held:
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            self._held[key] = weakref.ref(storage, self._forget(key, size))

    def _forget(self, key: int, size: int) -> Callable[[object], None]:
        def gone(_: object) -> None:
            self.now -= size
            self._held.pop(key, None)

        return gone


def size_of(tensors: Any) -> int:
    """Bytes of all distinct tensors in nested lists, tuples and mappings."""
    sizes = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tree_leaves(tensors)}
    return sum(sizes.values())
