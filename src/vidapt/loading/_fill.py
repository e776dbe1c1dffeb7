"""Put tensors of several sources into one model, each where it belongs, and tell what became of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.hub import LoadReport
from vidapt.loading._sources import Contents
from vidapt.loading._taken import Taken
from vidapt.models.assign import assign, mismatches, without_twins

Tensors = Mapping[str, Tensor]


def fill(model: nn.Module, taken: Sequence[Taken], fresh: Tensors, dtype: torch.dtype) -> dict[str, Any]:
    """Give a model its tensors.

    Args:
        model: Its parameters may lie on the meta device.
        taken: Its parts that begin with others' weights.
        fresh: What else it needs, at random, by its names; where both are given, what is taken counts.
        dtype: Number format of the weights in memory.

    Returns:
        The load report as plain data: `sources`, each with every tensor of its files counted, and
        `begins_at_random`, the model's tensors that come from none.

    Raises:
        CheckpointError: If a source is damaged, or tensors are missing, too many, or have another shape.
    """
    state: dict[str, Tensor] = {}
    reports = []
    for source in dict.fromkeys(one.source for one in taken):
        contents = source.read(dtype)
        left, own = set(contents.state), dict[str, Tensor]()
        parts = [one for one in taken if one.source is source]
        for one in parts:
            names = _names(one, contents.state)
            left -= set(names.values())
            found = {name: contents.state[theirs] for name, theirs in names.items()}
            used = {t.data_ptr() for t in own.values()}
            own |= _in_format(found, dtype, used, copy=contents.mapped)
        state |= own
        reports.append(_report(parts, contents, own, left, dtype))
    random = {name: tensor for name, tensor in fresh.items() if name not in state}
    state |= random
    where = ", ".join(dict.fromkeys(one.source.name for one in taken))
    _check({k: t for k, t in without_twins(model, state).items() if t.is_meta or k in state}, state, where)
    assign(model, state.items(), None, Path(where))
    return {"sources": reports, "begins_at_random": sorted(random)}


def _names(one: Taken, state: Collection[str]) -> dict[str, str]:
    """Names in the new model of what a part takes, and its names in the source."""
    start = f"{one.theirs}."
    inside = {name.removeprefix(start): name for name in state if name.startswith(start)}
    taken = {f"{one.part}.{key}": name for key, name in inside.items() if not key.startswith(tuple(one.left))}
    return {**taken, **one.also}


def _in_format(found: Tensors, dtype: torch.dtype, used: Collection[int], *, copy: bool) -> dict[str, Tensor]:
    """Tensors in a number format. Those that are one stay one, but none is shared with another part."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    given: dict[str, Tensor] = {}
    for name, tensor in found.items():
        mark = (tensor.data_ptr(), tensor.shape)
        if mark not in made:
            kept = dtype if tensor.is_floating_point() else tensor.dtype
            made[mark] = tensor.to(kept, copy=copy or tensor.data_ptr() in used)
        given[name] = made[mark]
    return given


def _report(
    parts: Sequence[Taken], contents: Contents, own: Tensors, left: Collection[str], dtype: torch.dtype
) -> dict[str, Any]:
    """What became of a source's tensors."""
    why = {name: reason for one in parts for name, reason in _left(one, left)}
    told = LoadReport(
        family=contents.family,
        folder=str(parts[0].source.place),
        files=contents.files,
        names={name: name for name in own},
        missing=(),
        unexpected=(),
        initialised=tuple(f"{one.part}.{name}" for one in parts for name in one.begins),
        ignored={
            **contents.ignored,
            **{name: why.get(name, "of a part that is not taken") for name in sorted(left)},
        },
        dtype=str(dtype).removeprefix("torch."),
        read=lambda: list(own.items()),
    )
    return {
        "name": parts[0].source.name,
        "parts": {one.part: one.theirs for one in parts},
        "tensors": contents.tensors,
        "merged": contents.merged,
        **told.to_dict(),
    }


def _left(one: Taken, names: Collection[str]) -> Iterator[tuple[str, str]]:
    for start, reason in one.left.items():
        yield from ((name, reason) for name in names if name.startswith(f"{one.theirs}.{start}"))


def _check(wanted: Tensors, state: Tensors, where: str) -> None:
    missing = [name for name in wanted if name not in state]
    odd = [name for name in state if name not in wanted]
    wrong = [
        f"{name}: expected {list(tensor.shape)}, found {list(state[name].shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = mismatches(
        {
            "are missing": missing,
            "have no place in the new model": odd,
            "have the wrong shape": wrong,
        }
    )
    if problems:
        raise CheckpointError(where, problems, "the files and what describes them disagree")
