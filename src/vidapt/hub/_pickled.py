"""Weights that authors publish as one `.pt` file: read without running what it may hold.

Source: `torch.save` of a state dict. Such a file is a pickle, which can name any function to be called;
torch's `weights_only` reader builds tensors and plain containers alone and refuses everything else.
"""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from vidapt.errors import CheckpointError

# What a damaged or hostile pickle can make the reader raise.
_ERRORS = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Read a state dict, mapped from its file where its format allows.

    Args:
        path: A file that `torch.save` wrote.

    Raises:
        CheckpointError: If there is no such file, it is damaged, holds anything but tensors by name, or
            would have to run code.
    """
    if not path.is_file():
        raise CheckpointError(path, "there is no such file", "put the published weights there")
    try:
        with warnings.catch_warnings():
            # About pickle protocols and archives that it goes on to refuse.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            path,
            f"holds more than weights, or none at all, and is not opened: {_first(error)}",
            "it could run code; save its `state_dict()` alone with torch.save, or fetch it again",
        ) from error
    except _ERRORS as error:
        raise CheckpointError(
            path,
            f"cannot be read: {_first(error)}",
            "it is damaged, or a TorchScript archive, whose `state_dict()` has to be saved by itself first",
        ) from error
    return _state(content, path)


def _state(content: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            path, f"holds a {type(content).__name__}, not tensors by name", "save a `state_dict()`"
        )
    others = [
        key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others:
        raise CheckpointError(
            path,
            f"holds things that are no tensors: {', '.join(repr(key) for key in others[:3])}",
            "save the `state_dict()` alone, without the optimiser and the like",
        )
    return dict(content)


def _first(error: BaseException) -> str:
    """The first sentence of torch's long explanations."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
