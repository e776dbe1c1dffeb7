"""A model that is ready to be asked, by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from vidapt.hub import LoadReport
from vidapt.inference.engine import Engine
from vidapt.loading import locate, open_model
from vidapt.models.folder import read_card
from vidapt.models.placement import Bits


def load(
    name: str | Path,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    tell: Callable[[LoadReport], object] | None = None,
    bits: Bits | None = None,
) -> Engine:
    """Open a model by name or path.

    Args:
        name: A shipped model's name, a run, a model's folder, or a published checkpoint's folder or id.
        dtype: Number format of the weights or its name; None is bfloat16 on CUDA devices that compute in it,
            float32 elsewhere.
        device: Where it runs; `auto` spreads the language model over the devices there are.
        tell: Called with what became of every tensor, where a published checkpoint is opened.
        bits: Quantise the language model to 4 or 8 bits; needs bitsandbytes.

    Raises:
        CheckpointError: If there is no such model, its weights do not fit exactly, or it names a part outside
            vidapt whose module you have not imported.
    """
    model, tokenizer = open_model(name, dtype, device, tell, bits, rounded=True)
    return Engine(model, tokenizer, _called(name), read_card(locate(name)))


def _called(name: str | Path) -> str:
    """A shipped model's name, or that of the folder the user gave."""
    return str(name) if not Path(name).exists() else Path(name).resolve().name
