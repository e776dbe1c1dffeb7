"""Experts of a mixture, however they are stored, as the tensors that transformers computes with.

There all experts of a layer are one tensor, [experts, out, in], with gate and up in one. Source: the files of
Qwen3-VL's mixtures, which keep that tensor with its last axes exchanged; and files that hold every expert's
tensors apart, as transformers also saves those of Qwen3.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vidapt.hub._files import Stored, load
from vidapt.hub._keys import Shape

_APART = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
_TOGETHER = re.compile(r".*\.mlp\.experts\.(gate_up|down)_proj")
_KINDS = ("gate", "up", "down")


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor that is made of stored ones.

    Attributes:
        sources: Names of these.
        shape: What it will have.
        make: Makes it of them, in the order of `sources`.
    """

    sources: tuple[str, ...]
    shape: Shape
    make: Callable[[Sequence[Tensor]], Tensor]


def gathered(tensors: Mapping[str, Stored], width: int) -> dict[str, Made]:
    """Experts of a checkpoint as whole tensors, by name.

    Args:
        tensors: All that it holds.
        width: D, of the language model. It tells which way round a tensor is stored; one that is square
            is taken as it stands.

    Returns:
        Nothing about experts that are not all there, or stand as they should.
    """
    return {**_stacked(tensors), **_turned(tensors, width)}


def turned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors with the last axes of its experts exchanged, as Qwen3-VL's files have them."""
    return {
        key: tensor.transpose(1, 2) if _TOGETHER.fullmatch(key) else tensor for key, tensor in state.items()
    }


def in_place(tensors: Mapping[str, Stored], made: Mapping[str, Made]) -> dict[str, Stored]:
    """What a checkpoint holds, with tensors that are made in place of their sources."""
    used = {source for one in made.values() for source in one.sources}
    kept = {key: entry for key, entry in tensors.items() if key not in used}
    return kept | {key: Stored(tensors[one.sources[0]].file, one.shape) for key, one in made.items()}


def read(
    folder: Path, tensors: Mapping[str, Stored], made: Mapping[str, Made]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that are made, one after the other, so that no more than one is being put together.

    Args:
        folder: The checkpoint.
        tensors: All that it holds.
        made: Of `gathered`.

    Raises:
        CheckpointError: If a file cannot be read any more.
    """
    for key, one in made.items():
        held = dict(load(folder, {source: tensors[source] for source in one.sources}))
        yield key, one.make([held[source] for source in one.sources])


def _turned(tensors: Mapping[str, Stored], width: int) -> dict[str, Made]:
    found: dict[str, Made] = {}
    for key, entry in tensors.items():
        match = _TOGETHER.fullmatch(key)
        if match is None or len(entry.shape) != 3:
            continue
        # The language model's width is what goes into gate and up, and what comes out of down.
        right, wrong = (2, 1) if match[1] == "gate_up" else (1, 2)
        if entry.shape[right] != width and entry.shape[wrong] == width:
            experts, one, other = entry.shape
            found[key] = Made((key,), (experts, other, one), lambda held: held[0].transpose(1, 2))
    return found


def _stacked(tensors: Mapping[str, Stored]) -> dict[str, Made]:
    apart: dict[str, dict[tuple[int, str], str]] = {}
    for key in tensors:
        match = _APART.fullmatch(key)
        if match is not None:
            apart.setdefault(match[1], {})[int(match[2]), match[3]] = key
    found: dict[str, Made] = {}
    for place, names in apart.items():
        count = 1 + max(number for number, _ in names)
        if len(names) != count * len(_KINDS):
            continue
        shapes = {kind: tensors[names[0, kind]].shape for kind in _KINDS}
        if shapes["gate"] != shapes["up"] or any(len(shape) != 2 for shape in shapes.values()):
            continue
        rows, width = shapes["gate"]
        pairs = tuple(names[number, kind] for number in range(count) for kind in ("gate", "up"))
        downs = tuple(names[number, "down"] for number in range(count))
        found[f"{place}.gate_up_proj"] = Made(pairs, (count, 2 * rows, width), _gate_up)
        found[f"{place}.down_proj"] = Made(downs, (count, *shapes["down"]), _stack)
    return found


def _gate_up(held: Sequence[Tensor]) -> Tensor:
    """Gate and up of every expert in turn, [out, in] each -> [experts, 2 * out, in]."""
    return torch.cat(list(held)).reshape(len(held) // 2, -1, held[0].shape[1])


def _stack(held: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(held))
