"""Write models for other tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidapt.errors import ConfigError
from vidapt.loading._opened import open_model
from vidapt.loading._places import locate

if TYPE_CHECKING:
    from vidapt.hub import Bits8, Rounding

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def export_model(
    name: str | Path,
    out: Path,
    *,
    to: str,
    dtype: str,
    lora_scale: float | None = None,
    bits: Bits8 | None = None,
) -> Rounding | None:
    """Write a model for other tools; see `hub.export_hf` and `hub.export_merged`.

    Args:
        name: See `locate`.
        out: A new folder.
        to: `hf`, `merged` or `language`.
        dtype: Name of torch's number format.
        lora_scale: What of its adapters goes into the weights; None is all.
        bits: Round the language model's matrices to this; with `hf`.

    Returns:
        What rounding changed, if anything was rounded.

    Raises:
        CheckpointError: If the model cannot be opened or has no such layout, a merged layer computes
            something else, or the folder exists.
        ConfigError: If there are no adapters to scale, or nothing to round with.
    """
    if bits not in (None, "int8", "fp8") or (bits is not None and to != "hf"):
        raise ConfigError("--weights", f"{bits} goes with --to hf", "write that layout, or leave it out")
    import torch

    from vidapt.hub import export_hf, export_language, export_merged
    from vidapt.models.adapters import bake_scale, refuse_no_adapters
    from vidapt.models.folder import read_card

    folder, stored_as = locate(name), getattr(torch, dtype)
    model, tokenizer = open_model(name)
    if lora_scale is not None:
        refuse_no_adapters(model, name)
        bake_scale(model, lora_scale)
    if to == "language":
        export_language(out, model, tokenizer, stored_as)
        return None
    if to == "hf":
        return export_hf(out, model, tokenizer, stored_as, bits)
    scaled = {} if lora_scale is None else {"lora_scale": lora_scale}
    card = {**read_card(folder), "merged_from": str(name), **scaled}
    export_merged(out, model, tokenizer, card, stored_as)
    return None


def export_gguf_model(
    name: str | Path, out: Path, *, dtype: str, scale: float | None = None, bits: str | None = None
) -> list[str]:
    """Write a model for llama.cpp; see `hub.export_gguf`.

    Args:
        name: See `locate`.
        out: A new folder.
        dtype: Name of torch's number format.
        scale: What of its adapters goes into the weights; None is all.
        bits: `q8_0`, or None.

    Returns:
        What whoever serves it has to know.

    Raises:
        CheckpointError: See `hub.export_gguf`.
        ConfigError: If there are no adapters to scale, or GGUF has no such format.
    """
    if bits not in (None, "q8_0"):
        raise ConfigError("--weights", f"{bits} is no format of GGUF here", "give q8_0, or leave it out")
    import torch

    from vidapt.hub import export_gguf
    from vidapt.models.adapters import bake_scale, refuse_no_adapters

    model, tokenizer = open_model(name)
    if scale is not None:
        refuse_no_adapters(model, name)
        bake_scale(model, scale)
    return export_gguf(out, model, tokenizer, getattr(torch, dtype), "q8_0" if bits else None)


def export_side_by_side(names: Sequence[str], out: Path, *, dtype: str) -> list[str]:
    """Write the adapters of several runs beside their base; see `hub.export_adapters`.

    Args:
        names: Of runs, each as NAME=RUN, or a run alone, which is called as its folder is.
        out: A new folder.
        dtype: Name of torch's number format.

    Returns:
        What whoever serves them has to know.

    Raises:
        CheckpointError: See `hub.export_adapters`.
        ConfigError: If two have one name, or a name cannot be a folder's.
    """
    from vidapt.hub import BASE

    called: dict[str, str] = {}
    for given in names:
        name, equals, run = given.partition("=")
        if not equals:
            name, run = locate_name(given), given
        if name in called or name == BASE or not _NAME.fullmatch(name):
            raise ConfigError("adapters", f"{name!r} cannot be a name here", "give each another: NAME=RUN")
        called[name] = run
    import torch

    from vidapt.hub import export_adapters

    return export_adapters(
        out, {name: open_model(run) for name, run in called.items()}, getattr(torch, dtype)
    )


def locate_name(run: str) -> str:
    """What a run is called by its path."""
    return Path(run).resolve().name
