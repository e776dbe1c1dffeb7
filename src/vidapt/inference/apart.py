"""Work for many clips of which any may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from vidapt.errors import VidaptError
from vidapt.models.memory import is_out_of_memory, release

Result = TypeVar("Result")
_TOLD = 300


class ModelFailed(VidaptError):  # noqa: N818 - it names what became of a clip
    """A model, or a library below it, failed at a clip."""


def apart(
    work: Callable[[Sequence[int]], Sequence[Result]], some: Sequence[int]
) -> list[Result | VidaptError]:
    """Do work for all; where that fails, halves of it are tried until the one that is to blame is alone.

    Args:
        work: Gives a result for each of some numbers.
        some: All numbers.

    Returns:
        For each its result, or what is wrong with it.

    Raises:
        torch.AcceleratorError: If the device itself has failed, so that nothing that follows can succeed.
    """
    if not some:
        return []
    try:
        return list(work(some))
    except torch.AcceleratorError as error:
        if not is_out_of_memory(error):
            raise
        failed: Exception = error
    except Exception as error:  # noqa: BLE001 - whatever a library finds wrong with one clip costs one row
        failed = error
    if is_out_of_memory(failed):
        release()
    if len(some) == 1:
        return [failed if isinstance(failed, VidaptError) else ModelFailed("model", told(failed))]
    half = len(some) // 2
    return apart(work, some[:half]) + apart(work, some[half:])


def told(error: Exception) -> str:
    """An error of a library on one line."""
    words = " ".join(str(error).split())[:_TOLD]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
