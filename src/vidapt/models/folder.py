"""A model as a folder: blueprint, weights, tokenizer and where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from vidapt import parts
from vidapt.errors import CheckpointError
from vidapt.files import write_folder
from vidapt.models.assign import assign, parameters_on_meta, without_twins
from vidapt.models.bounds import Bound, bounded
from vidapt.models.origin import read_origin, save_origin
from vidapt.models.tokenizer_file import refuse_growth
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

WEIGHTS, BLUEPRINT, CARD = "model.safetensors", "blueprint.json", "card.json"

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

B = TypeVar("B", bound=BaseModel)


def save_model(
    folder: Path, model: VideoLM, tokenizer: Any, card: Mapping[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write a model's folder in one step.

    Args:
        folder: Replaced if it exists.
        model: Its weights and blueprint.
        tokenizer: Saved beside them.
        card: Provenance: recipe, stage, versions, numbers.
        dtype: Store floating weights in this format; None keeps theirs.
    """
    with write_folder(folder) as temporary:
        write_tensors(temporary, model, dtype)
        write_blueprint(temporary / BLUEPRINT, model.blueprint)
        tokenizer.save_pretrained(temporary)
        if model.origin is not None:
            save_origin(temporary, model.origin)
        write_card(temporary, card)


def write_tensors(folder: Path, model: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Write a model's weights into a folder; floating ones in `dtype`, if it is given."""
    tensors = {
        name: (t.to(dtype) if dtype is not None and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in untied(model).items()
    }
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})


def write_blueprint(file: Path, blueprint: BaseModel) -> None:
    """Write what a model is built from into a file of its folder."""
    file.write_text(blueprint.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a model's provenance into its folder."""
    text = json.dumps(dict(card), indent=2, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """A model's provenance; empty if its folder has none.

    Raises:
        CheckpointError: If it is damaged.
    """
    file = folder / CARD
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(file, f"is damaged: {error}", "copy the model's folder again") from error


def untied(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with weights that share memory named once."""
    seen: set[tuple[int, torch.Size]] = set()
    kept: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        mark = (tensor.data_ptr(), tensor.shape)
        if mark not in seen or tensor.numel() == 0 or tensor.is_meta:
            seen.add(mark)
            kept[name] = tensor
    return kept


def open_folder(folder: Path, dtype: torch.dtype | None = torch.float32) -> tuple[VideoLM, Any]:
    """Read what `save_model` wrote: the model in evaluation mode, and its tokenizer.

    Args:
        folder: The model's.
        dtype: Number format of the weights in memory; None keeps each as it is stored.

    Raises:
        CheckpointError: If a file is missing or damaged, any tensor is missing, unknown or of another shape
            (each is named), or the blueprint names a part outside vidapt whose module has not been imported.
        ConfigError: If there is no such part.
    """
    blueprint = read_blueprint(folder)
    with unfit_parts(folder / BLUEPRINT), within_weights(folder), parameters_on_meta():
        model = VideoLM(blueprint)
    fill(model, folder / WEIGHTS, dtype)
    tokenizer = read_tokenizer(folder)
    model.origin = read_origin(folder)
    return model.eval(), tokenizer


@contextmanager
def within_weights(folder: Path) -> Iterator[None]:
    """Build what a model's folder describes no larger than its weights.

    Raises:
        CheckpointError: If they are missing or damaged, or what is built goes beyond them.
    """
    with _readable(folder / WEIGHTS), safe_open(folder / WEIGHTS, framework="pt") as opened:
        shapes = [opened.get_slice(key).get_shape() for key in opened.keys()]  # noqa: SIM118 - not a dict
    with bounded(Bound.of(shapes, folder / BLUEPRINT)):
        yield


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a model's folder, mapped from their file.

    Raises:
        CheckpointError: If they are missing or damaged.
    """
    with _readable(folder / WEIGHTS):
        return load_file(folder / WEIGHTS)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(file, f"cannot be read: {error}", "copy the model's folder again") from error


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        CheckpointError: If it is missing or damaged, or makes too much of a text.
    """
    refuse_growth(folder)
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        raise CheckpointError(
            folder, f"its tokenizer cannot be read: {error!r}", "copy the model's folder again"
        ) from error


def read_blueprint(folder: Path) -> Blueprint:
    """The blueprint of a model's folder.

    Raises:
        CheckpointError: See `read_as`.
    """
    return read_as(Blueprint, folder / BLUEPRINT, "give the folder of a vidapt model or run")


def read_as(kind: type[B], file: Path, hint: str) -> B:
    """Read what `write_blueprint` wrote.

    Args:
        kind: Of blueprint.
        file: Where it lies, in the model's folder.
        hint: What to do if the folder has no such file.

    Raises:
        CheckpointError: If it is missing or not understood, or names a part outside vidapt whose module has
            not been imported.
    """
    try:
        blueprint = kind.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(file.parent, f"holds no {file.name}", hint) from error
    except ValueError as error:  # of pydantic, or of text that is not UTF-8
        raise CheckpointError(file, f"is not a blueprint: {error}") from error
    parts.refuse_unimported(blueprint.model_dump(), file)
    return blueprint


@contextmanager
def unfit_parts(file: Path) -> Iterator[None]:
    """Tell of a blueprint whose parts do not know its fields.

    Raises:
        CheckpointError: If a part's `Config` refuses what `file` holds.
    """
    try:
        yield
    except ValidationError as error:
        raise CheckpointError(
            file, f"is not a blueprint: {error}", "copy the model's folder again"
        ) from error


def fill(model: nn.Module, file: Path, dtype: torch.dtype | None) -> None:
    """Give a model the weights of a file, strictly.

    They are read one by one into memory of their own, not mapped: the file may be deleted or written over
    while the model is in use, and what a model computes does not depend, in its last bits, on where in the
    file a weight lies.

    Args:
        model: Built under `parameters_on_meta`.
        file: Its weights.
        dtype: Number format of floating weights in memory; None keeps each as it is stored.

    Raises:
        CheckpointError: If the file is missing or damaged, or naming every tensor that is missing, unknown,
            of another shape or of another kind.
    """
    stored = read_tensors(file.parent)
    _check_fit(model, stored, file)
    names = list(stored)
    del stored
    with _readable(file):
        assign(model, _read(file, names, dtype), None, file)


def _read(file: Path, names: Iterable[str], dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        # Opened anew for each: what is mapped of a file takes memory until it is closed.
        with safe_open(file, framework="pt") as opened:
            tensor = opened.get_tensor(name)
            kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            yield name, tensor.to(kept, copy=True)
            del tensor


def _check_fit(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    wanted = without_twins(model, tensors)
    problems = [
        f"missing: {name} {tuple(wanted[name].shape)}" for name in sorted(wanted.keys() - tensors.keys())
    ]
    problems += [
        f"unexpected: {name} {tuple(tensors[name].shape)}" for name in sorted(tensors.keys() - wanted.keys())
    ]
    problems += [
        f"wrong shape: {name} is {tuple(tensors[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if wanted[name].shape != tensors[name].shape
    ]
    problems += [
        f"wrong kind: {name} is {tensors[name].dtype}, the model has {wanted[name].dtype}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].dtype not in (_FLOATS if wanted[name].is_floating_point() else (wanted[name].dtype,))
    ]
    if problems:
        raise CheckpointError(
            where,
            "does not fit its blueprint\n  " + "\n  ".join(problems[:20]),
            "the file is damaged or of another model",
        )
