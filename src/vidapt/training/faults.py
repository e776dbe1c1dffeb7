"""Where numbers stop being finite: the first module that gives such, or a weight with such a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Fault:
    """Why a step was left out.

    Attributes:
        found: What is not finite.
        where: The module or weight at fault; empty if none could be told.
    """

    found: str
    where: str

    def __str__(self) -> str:
        return f"{self.found}, first in {self.where}" if self.where else self.found


@torch.no_grad()
def module_at_fault(learner: nn.Module, run: Callable[[], Any]) -> str:
    """Name of the module that first gives something that is not finite; empty if none does.

    Args:
        learner: A model and its objective.
        run: Computes the loss anew.
    """
    found: list[str] = []

    def heard(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            # What is within a module is done before it is.
            if not found and name and not all(bool(one.isfinite().all()) for one in _tensors(output)):
                found.append(name)

        return hook

    hooks = [module.register_forward_hook(heard(name)) for name, module in learner.named_modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return _plain(found[0]) if found else ""


def weight_at_fault(weights: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Name of the weight nearest to the loss whose gradient is not finite: gradients come from there.

    Args:
        weights: By name, those nearest to the loss last.
    """
    bad = [name for name, one in weights if one.grad is not None and not bool(one.grad.isfinite().all())]
    return bad[-1] if bad else ""


def _plain(name: str) -> str:
    """As the model calls it."""
    return name.removeprefix("model.") if name != "model" else "the model"


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating tensors anywhere in what a module gives."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
        return
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value):
        inner = (getattr(value, field.name) for field in fields(value))
    for one in inner:
        yield from _tensors(one)
