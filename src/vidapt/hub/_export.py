"""Write a model for others to use: in its family's hub layout, or as a vidapt model without adapters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.files import write_folder, write_json
from vidapt.hub._authors import is_authors, tower_described
from vidapt.hub._chat import JINJA
from vidapt.hub._few_bits import Bits8, Rounding, rounded
from vidapt.hub._files import FLOATS
from vidapt.hub._open import CONFIG, families
from vidapt.hub._quiet import quiet
from vidapt.hub._tokenizer import PIECES
from vidapt.models.adapters import merged_model
from vidapt.models.delta_net import layers_with_state
from vidapt.models.embeddings_only import refuse_more_than_embeddings
from vidapt.models.folder import save_model, untied
from vidapt.models.origin import Origin
from vidapt.models.video_lm import VideoLM
from vidapt.version import VERSION

_SHARD = "5GB"
READING = "vidapt_reading.json"
_READ = {"frames", "times", "positions", "prompt", "resolution", "scenes"}
"""What a folder's weights were adapted to read; whoever serves them has to give them the same."""


def export_language(folder: Path, model: VideoLM, tokenizer: Any, dtype: torch.dtype | None = None) -> None:
    """Write the language model alone, adapters merged, for a server that reads embeddings.

    Args:
        folder: Must not exist.
        model: Of whose language model nothing but embeddings is read.
        tokenizer: Saved beside it.
        dtype: Store weights in this format; None keeps theirs.

    Raises:
        ConfigError: If more than embeddings enters it.
        CheckpointError: If the folder exists, its layers keep a state, or one of them computes something else
            once its adapters are merged.
    """
    refuse_existing(folder)
    refuse_more_than_embeddings(model, "--to language")
    if layers_with_state(model.language):
        raise CheckpointError("--to language", "its layers keep a state", "export it whole, with --to hf")
    language = merged_model(model, tokenizer).language
    with write_folder(folder) as temporary:
        with quiet():
            language.to(dtype or language.dtype).save_pretrained(temporary, max_shard_size=_SHARD)
        tokenizer.save_pretrained(temporary)


def export_hf(
    folder: Path,
    model: VideoLM,
    tokenizer: Any,
    dtype: torch.dtype | None = None,
    bits: Bits8 | None = None,
) -> Rounding | None:
    """Write a model in the hub's layout of the family it was opened from, adapters merged.

    Where transformers has a class for the family, it opens the folder and gives the same logits. A family
    whose published files hold adapters keeps them, if its own code would read these.

    Args:
        folder: Must not exist.
        model: Opened from a published checkpoint, or adapted from one.
        tokenizer: Saved beside it.
        dtype: Store weights in this format; None keeps theirs.
        bits: Round the language model's matrices to this; see `_few_bits`.

    Returns:
        What rounding changed, if anything was rounded.

    Raises:
        CheckpointError: If the folder exists, the model has no published layout, a layer of it computes
            something else once its adapters are merged, or there is nothing that could be rounded.
        ConfigError: If `bits` needs what is not installed.
    """
    refuse_existing(folder)
    family, origin = published_as(model)
    config = origin.read(CONFIG)
    theirs = is_authors(config) or (hasattr(family, "is_authors") and family.is_authors(config))
    if theirs and bits is not None:
        raise CheckpointError(
            "export", "no server reads the authors' own layout in few bits", "begin with the hub's conversion"
        )
    state = family.apart(model) if hasattr(family, "apart") and bits is None else None
    rename = family.to_authors if theirs else family.to_hub
    whole = merged_model(model, tokenizer) if state is None else model
    tensors = rename(untied(whole) if state is None else state)
    few = None if bits is None else rounded(whole, tokenizer, tensors, bits)
    stored = _stored_as(tensors, dtype)
    if few is not None:  # scales stay as exact as they are
        kept = {name for name, tensor in few.tensors.items() if tensor is tensors.get(name)}
        stored = {name: stored[name] if name in kept else tensor for name, tensor in few.tensors.items()}
    with write_folder(folder) as temporary:
        save_torch_state_dict(stored, temporary, max_shard_size=_SHARD)
        if PIECES not in origin.files:
            tokenizer.save_pretrained(temporary)
        # What was published says how the model is used, down to the place where its chat template stands.
        (temporary / JINJA).unlink(missing_ok=True)
        for name, content in origin.files.items():
            (temporary / name).write_bytes(content)
        if is_authors(config):
            _describe_tower(temporary, config, model)
        if few is not None:
            write_json(temporary / CONFIG, {**config, "quantization_config": few.config})
        told = {} if few is None else {"rounding": {"weights": bits, **asdict(few.told)}}
        write_json(temporary / READING, {**reading_of(model, family), **told})
    return None if few is None else few.told


def published_as(model: VideoLM) -> tuple[Any, Origin]:
    """The family in whose layout a model is exported, and the checkpoint that it was opened from.

    Raises:
        CheckpointError: If it has none.
    """
    origin = model.origin
    if origin is None:
        raise CheckpointError(
            "export", "this model was not opened from a published checkpoint", "write it with `--to merged`"
        )
    family = families().get(origin.family)
    if family is None or CONFIG not in origin.files:
        raise CheckpointError(
            "export",
            f"how the checkpoint beneath this model was published is not known: it is of {origin.family!r}, "
            f"with {', '.join(sorted(origin.files)) or 'no file'}",
            "copy the model's folder again, or write it with `--to merged`",
        )
    return family, origin


def reading_of(model: VideoLM, family: Any) -> dict[str, Any]:
    """How clips become what the model reads, and who else makes the same of them."""
    read = model.blueprint.model_dump(mode="json", include=_READ)
    told = {"compat": family.agrees(model.blueprint)} if hasattr(family, "agrees") else {}
    return {"version": VERSION, "family": family.FAMILY, **told, **read}


def _describe_tower(folder: Path, config: dict[str, Any], model: VideoLM) -> None:
    """Say what the tower is that a configuration only names; its weights are with the model's."""
    found = tower_described(config, model.blueprint.towers[0])
    if found is not None:
        name, described = found
        (folder / name).mkdir()
        (folder / name / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def export_merged(
    folder: Path, model: VideoLM, tokenizer: Any, card: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write a vidapt model whose adapters are part of its weights.

    Raises:
        CheckpointError: If the folder exists, or a layer computes something else once adapters are merged.
    """
    refuse_existing(folder)
    save_model(folder, merged_model(model, tokenizer), tokenizer, card, dtype)


def _stored_as(tensors: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: (t.to(dtype) if dtype is not None and t.dtype in FLOATS else t).detach().cpu().contiguous()
        for name, t in tensors.items()
    }


def refuse_existing(folder: Path) -> None:
    """See that nothing is written over.

    Raises:
        CheckpointError: If the folder exists.
    """
    if folder.exists():
        raise CheckpointError(folder, "exists", "name a new folder")
