"""Weights that `export_hf` rounded, read back as what they stand for: for answering, never for learning."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub._experts import Made
from vidapt.hub._few_bits import FORMATS, Bits8, scheme_of
from vidapt.hub._files import Stored, load
from vidapt.hub._keys import Shape

_SCALE, _PACKED, _SHAPE, _WEIGHT = ".weight_scale", ".weight_packed", ".weight_shape", ".weight"
_PER_NUMBER = 4
"""Whole numbers of eight bits in one of 32."""


def bits_of(config: Mapping[str, Any]) -> Bits8 | None:
    """The format in which a checkpoint was rounded here; None if it was not, or elsewhere in another one."""
    told = config.get("quantization_config")
    if not isinstance(told, Mapping) or told.get("quant_method") != "compressed-tensors":
        return None
    return next((bits for bits, name in FORMATS.items() if told.get("format") == name), None)


def restored(folder: Path, held: Mapping[str, Stored], odd: Collection[str], bits: Bits8) -> dict[str, Made]:
    """The matrices of a checkpoint in few bits, by name.

    Args:
        folder: The checkpoint.
        held: All that it holds.
        odd: Names of tensors that are not floats.
        bits: Its format.

    Raises:
        CheckpointError: If something in few bits lacks its scales, or belongs to no matrix.
        ConfigError: If compressed-tensors is not installed.
    """
    scheme, compressor = scheme_of(bits)
    made: dict[str, Made] = {}
    for key in held:
        if not key.endswith(_SCALE):
            continue
        name = key.removesuffix(_SCALE)
        parts = (_PACKED, _SCALE, _SHAPE) if bits == "int8" else (_WEIGHT, _SCALE)
        sources = tuple(f"{name}{part}" for part in parts)
        if all(source in held for source in sources):
            make = partial(_unpacked, [part[1:] for part in parts], scheme, compressor)
            made[f"{name}{_WEIGHT}"] = Made(sources, _shape_of(folder, held, sources), make)
    known = {source for one in made.values() for source in one.sources}
    lost = sorted({*odd, *(key for key in held if key.endswith(_SCALE))} - known)
    if lost:
        raise CheckpointError(
            folder,
            f"{lost[0]!r} belongs to no matrix in {bits}",
            "fetch the folder again, or export it again",
        )
    return made


def _shape_of(folder: Path, held: Mapping[str, Stored], sources: Sequence[str]) -> Shape:
    if len(sources) == 2:
        return held[sources[0]].shape
    (told,) = (tensor for _, tensor in load(folder, {sources[2]: held[sources[2]]}))
    packed, shape = held[sources[0]].shape, tuple(int(side) for side in told.flatten().tolist())
    fits = (
        len(shape) == len(packed) == 2 and shape[0] == packed[0] and -(-shape[1] // _PER_NUMBER) == packed[1]
    )
    if not fits:
        raise CheckpointError(folder, f"{sources[2]!r} is {shape}, of {packed} packed", "export it again")
    return shape


def _unpacked(parts: Sequence[str], scheme: Any, compressor: Any, held: Sequence[Tensor]) -> Tensor:
    told = dict(zip(parts, held, strict=True))
    told["weight_scale"] = told["weight_scale"].float()
    weight = compressor.decompress(told, scheme)["weight"]
    assert isinstance(weight, Tensor)
    return weight.to(torch.float32)
