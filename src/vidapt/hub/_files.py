"""A checkpoint's folder: its JSON files and its weights, mapped into memory and never executed.

Source: the layout `save_pretrained` writes (`model.safetensors`, or shards named by
`model.safetensors.index.json`), and wrote before safetensors (`pytorch_model.bin`, or shards named by
`pytorch_model.bin.index.json`). Those are pickles, of which nothing but tensors is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub._keys import Shape
from vidapt.hub._pickled import read_pickled

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

_LONGEST_JSON = 64 * 2**20
"""Bytes; the largest index of published weights has a few millions."""

BASE = "base:"
"""What stands in front of the names of tensors of the checkpoint beneath a folder's own weights."""

_OTHER_WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")
_SAFE, _PICKLE = ".safetensors", ".bin"
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Number formats of weights that can be adapted."""
_SAFE_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file.

    Attributes:
        file: Name of the file within the folder.
        shape: Its shape.
    """

    file: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Beside:
    """A tensor that was read from a file beside the model's own weights.

    Attributes:
        file: Name of the file within the folder.
        tensor: As stored.
    """

    file: str
    tensor: Tensor


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: If the file is absent, unreadable, or holds something else.
    """
    try:
        size = path.stat().st_size
        if size > _LONGEST_JSON:
            raise CheckpointError(path, f"has {size} bytes, too many for such a file", "fetch the file again")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            path, "there is no such file", "give the folder that holds config.json"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # the last of nesting thousands deep
        raise CheckpointError(path, f"cannot be read as JSON: {error}", "fetch the file again") from error
    if not isinstance(data, dict):
        raise CheckpointError(path, f"holds a {type(data).__name__}, not an object", "fetch the file again")
    return data


def read_json_if_there(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, or return None if there is no such file.

    A link that leads nowhere, as in a cache of which files were lost, is a file that cannot be read.
    """
    return read_json(path) if path.is_symlink() or path.exists() else None


def stored(folder: Path, odd: set[str] | None = None) -> dict[str, Stored]:
    """List every tensor of a checkpoint without reading any.

    Args:
        folder: The checkpoint.
        odd: Collects the names of tensors that are not floats; None refuses them.

    Raises:
        CheckpointError: If a shard is missing or damaged, a tensor is in two shards or not in the one the
            index names, the weights are quantised or absent, or a pickle holds more than tensors.
    """
    index, suffix = _index(folder)
    promised = _weight_map(folder, index, suffix) if index is not None else {}
    files = sorted(set(promised.values())) if promised else [_single_file(folder)]
    found: dict[str, Stored] = {}
    for file in files:
        for key, shape in _header(folder / file, odd):
            if key in found:
                raise CheckpointError(
                    folder, f"{key!r} is in {found[key].file} and in {file}", "keep one of them"
                )
            found[key] = Stored(file, shape)
    for key, file in promised.items():
        if key not in found or found[key].file != file:
            raise CheckpointError(
                folder / str(index),
                f"{key!r} should be in {file} but is not",
                "index and shards differ: fetch both again",
            )
    return found


def load(folder: Path, tensors: Mapping[str, Stored]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors by name, mapped from their files, one file after the other.

    Args:
        folder: The checkpoint.
        tensors: Some of what `stored` listed.

    Raises:
        CheckpointError: If a file cannot be read any more.
    """
    for file in sorted({entry.file for entry in tensors.values()}):
        if file.endswith(_PICKLE):
            held = read_pickled(folder / file)
            yield from ((key, held[key]) for key, entry in tensors.items() if entry.file == file)
            continue
        try:
            with safe_open(folder / file, framework="pt") as opened:
                for key, entry in tensors.items():
                    if entry.file == file:
                        yield key, opened.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise _damaged(folder / file, error) from error


def beneath(base: Path) -> dict[str, Beside]:
    """The tensors of the checkpoint on which another lies, by their names behind `BASE`, mapped.

    Raises:
        CheckpointError: As of `stored` and `load`.
    """
    held = stored(base)
    return {f"{BASE}{key}": Beside(str(base / held[key].file), tensor) for key, tensor in load(base, held)}


def _index(folder: Path) -> tuple[str | None, str]:
    """Name of the file that names the shards, and how their names end; safetensors go before pickles."""
    if (folder / INDEX).exists():
        return INDEX, _SAFE
    safe = (folder / WEIGHTS).is_file()
    return (PICKLED_INDEX if not safe and (folder / PICKLED_INDEX).exists() else None), _PICKLE


def _weight_map(folder: Path, index: str, suffix: str) -> dict[str, str]:
    files = read_json(folder / index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise CheckpointError(folder / index, "has no `weight_map`", "fetch the file again")
    # An index is untrusted input: it may name anything, and must not reach outside its folder.
    named = {file if isinstance(file, str) else repr(file): file for file in files.values()}
    for file in named.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(suffix):
            raise CheckpointError(
                folder / index, f"names {file!r}", f"shards are {suffix} files beside the index"
            )
        if not (folder / file).is_file():
            raise CheckpointError(folder / file, "this shard is missing", f"{index} needs it: fetch it again")
    return dict(files)


def _single_file(folder: Path) -> str:
    for name in (WEIGHTS, PICKLED):
        if (folder / name).is_file():
            return name
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHER_WEIGHTS)
    held = f", but {', '.join(others[:3])}" if others else ""
    raise CheckpointError(
        folder,
        f"has none of {WEIGHTS}, {INDEX}, {PICKLED}, {PICKLED_INDEX}{held}",
        "give the folder of a complete checkpoint",
    )


def _header(path: Path, odd: set[str] | None) -> Iterator[tuple[str, Shape]]:
    if path.suffix == _PICKLE:
        for key, tensor in read_pickled(path).items():
            _check_format(path, key, tensor.dtype, tensor.dtype in FLOATS)
            yield key, tuple(tensor.shape)
        return
    try:
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - not a dict
                piece = opened.get_slice(key)
                floating = piece.get_dtype() in _SAFE_FLOATS
                if odd is None or key.endswith(".position_ids"):
                    _check_format(path, key, piece.get_dtype(), floating)
                elif not floating:
                    odd.add(key)
                yield key, tuple(piece.get_shape())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _check_format(path: Path, key: str, found: Any, floating: bool) -> None:
    if not floating and not key.endswith(".position_ids"):
        raise CheckpointError(path, f"{key!r} is stored as {found}", "quantised weights cannot be adapted")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        path, f"cannot be read: {error}", "the file is truncated or damaged: fetch it again"
    )
