"""Models that take no memory before their weights are there: each weight is handed over, not copied into one.

Memory for random values that are thrown away at once would double what opening a model costs.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vidapt.errors import CheckpointError

_META = torch.device("meta")

_SHOWN = 6
"""Tensors of one kind named in an error; of a wrong 7B checkpoint hundreds would be."""


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Build modules whose parameters take no memory, while their buffers are real.

    Buffers that are not saved (rotary frequencies, position numbers) are computed when a module is built
    and could not be loaded afterwards; under `torch.device("meta")` they would be lost.
    """
    builder = threading.get_ident()

    def empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        del module, name
        if parameter is None or parameter.device == _META or threading.get_ident() != builder:
            return None
        return nn.Parameter(parameter.detach().to(_META), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(empty)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def without_twins(model: nn.Module, found: Collection[str]) -> dict[str, Tensor]:
    """The state dict in which a parameter of several names is listed once.

    Args:
        model: Its parameters may be without memory.
        found: Names whose values are at hand.

    Returns:
        Of each shared parameter the names in `found`, or its first name if none is.
    """
    left_out: set[str] = set()
    for group in _groups(model):
        named = [name for name in group if name in found] or group[:1]
        left_out |= set(group) - set(named)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in left_out}


def assign(
    model: nn.Module, tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None, where: Path
) -> None:
    """Hand weights over to a model, one by one; names and shapes have been checked before.

    Args:
        model: Built under `parameters_on_meta`.
        tensors: By the model's names, all of `without_twins` that have no values yet. Floating ones are
            converted to `dtype` as they come; without one they are taken as they are, memory and all.
        dtype: Number format of the weights in memory; None keeps each as it comes.
        where: What they come from, for errors.

    Raises:
        CheckpointError: If a shared parameter is given two values, or some part of the model computes from
            its weights, while it is being built, what is not saved with them.
    """
    given = {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in tensors
    }
    groups = _groups(model)
    for group in groups:
        named = [name for name in group if name in given]
        _refuse_discord(given, named, where)
        given |= {name: given[named[0]] for name in group if named}
    model.load_state_dict({**model.state_dict(), **given}, strict=True, assign=True)
    for first, *others in groups:
        for name in others:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, model.get_parameter(first))
    _refuse_empty(model, where)


def mismatches(kinds: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with tensors, for errors: how many of each kind, and the first; empty if nothing is.

    Args:
        kinds: A line for each tensor, by what is wrong with it.
    """
    return "\n".join(
        f"{len(lines)} tensor(s) {what}:\n{_first(lines)}" for what, lines in kinds.items() if lines
    )


def _first(lines: Sequence[str]) -> str:
    shown = [f"    {line}" for line in lines[:_SHOWN]]
    return "\n".join(shown + [f"    and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN))


def _groups(model: nn.Module) -> list[list[str]]:
    """The names of each parameter that has several (tied embeddings)."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _refuse_discord(given: Mapping[str, Tensor], names: list[str], where: Path) -> None:
    for name in names[1:]:
        if not torch.equal(given[names[0]], given[name]):
            raise CheckpointError(
                where,
                f"{names[0]} and {name} are one tensor in the config but differ in the files",
                "the files are of two models, or `tie_word_embeddings` of the language model must be false",
            )


def _refuse_empty(model: nn.Module, where: Path) -> None:
    every = chain(model.named_parameters(), model.named_buffers())
    empty = [name for name, tensor in every if tensor.is_meta]
    if empty:
        raise CheckpointError(
            where,
            f"has no values for {', '.join(empty[:3])}",
            "a part must not derive from its initial weights, which are not kept, what it does not save",
        )
