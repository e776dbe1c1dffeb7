"""A dual encoder as a folder: blueprint, weights, tokenizer and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vidapt.files import write_folder
from vidapt.models.assign import parameters_on_meta
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.folder import (
    WEIGHTS,
    fill,
    read_as,
    read_tokenizer,
    unfit_parts,
    within_weights,
    write_blueprint,
    write_card,
    write_tensors,
)
from vidapt.recipe import DualBlueprint

BLUEPRINT = "dual.json"
"""Another name than a video-language model's blueprint has, so that neither is taken for the other."""

_TOKENIZER = "tokenizer.json"


def save_dual(folder: Path, model: DualEncoder, tokenizer: Any | None, card: Mapping[str, Any]) -> None:
    """Write a dual encoder's folder in one step.

    Args:
        folder: Replaced if it exists.
        model: Its weights and blueprint.
        tokenizer: Saved beside them; None if there is none.
        card: Provenance: recipe, stage, versions, numbers.
    """
    with write_folder(folder) as temporary:
        write_tensors(temporary, model)
        write_blueprint(temporary / BLUEPRINT, model.blueprint)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        write_card(temporary, card)


def is_dual_folder(folder: Path) -> bool:
    """Whether a folder holds a dual encoder saved by `save_dual`."""
    return (folder / BLUEPRINT).is_file()


def open_dual(
    folder: Path,
    dtype: torch.dtype | None = torch.float32,
    edit: Callable[[DualBlueprint], DualBlueprint] | None = None,
) -> tuple[DualEncoder, Any | None]:
    """Read what `save_dual` wrote: the model in evaluation mode, and its tokenizer, if it has one.

    Args:
        folder: The model's.
        dtype: Number format of the weights in memory; None keeps each as it is stored.
        edit: Changes the blueprint before the model is built.

    Raises:
        CheckpointError: If a file is missing or damaged, any tensor is missing, unknown or of another shape
            (each is named), or the blueprint names a part outside vidapt whose module has not been imported.
        ConfigError: If there is no such part.
    """
    blueprint = read_dual_blueprint(folder)
    with unfit_parts(folder / BLUEPRINT), within_weights(folder), parameters_on_meta():
        model = DualEncoder(blueprint if edit is None else edit(blueprint))
    fill(model, folder / WEIGHTS, dtype)
    tokenizer = read_tokenizer(folder) if (folder / _TOKENIZER).is_file() else None
    return model.eval(), tokenizer


def read_dual_blueprint(folder: Path) -> DualBlueprint:
    """The blueprint of a dual encoder's folder.

    Raises:
        CheckpointError: See `read_as`.
    """
    return read_as(DualBlueprint, folder / BLUEPRINT, "give the folder of a saved dual encoder")
