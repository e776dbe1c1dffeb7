"""What a new model can take parts from: what each source holds, and its tensors by the names of its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import (
    Lack,
    LanguagePart,
    LoadReport,
    PublishedPart,
    holds_part,
    is_published,
    open_dual_encoder,
    published_part,
)
from vidapt.loading._opened import open_published
from vidapt.loading._places import ADAPTER, BLUEPRINT, is_dual, locate_dual
from vidapt.models.adapters import merged_model
from vidapt.models.assign import parameters_on_meta
from vidapt.models.folder import WEIGHTS, open_folder, read_blueprint, read_tokenizer, untied
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, DualBlueprint, Prompt, Spec

Sort = Literal["video-language model", "dual encoder", "vision tower", "language model"]

OWN = "vidapt"
"""What a report calls a model that vidapt saved."""

TOWER = "tower"
"""Name of the only tower of a source that is no video-language model."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a source.

    Attributes:
        family: Whose layout they are in.
        state: By the names they have in a model of ours; adapters are merged.
        files: Weight files that were read.
        tensors: How many tensors there are in these.
        ignored: Those of them that belong to no part, and why.
        merged: Those of low-rank adapters, which were added to what they stand on.
        mapped: Whether they lie in the files, and have to be copied.
    """

    family: str
    state: Mapping[str, Tensor]
    files: tuple[str, ...]
    tensors: int
    ignored: Mapping[str, str] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    mapped: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """A model, or a part of one, as it can be taken from.

    Attributes:
        name: As the recipe has it.
        place: Its file or folder.
        sort: What it is.
        read: Gives its tensors in a number format; those of published models stay as they are stored.
        towers: Its towers as data, by the beginnings of their tensors' names.
        language: Its language model as data.
        whole: Its blueprint, if it is a whole model.
        tokenizer: Gives its tokenizer, if it can have one.
        prompt: Gives, with a tokenizer, how its language model is spoken to, and where that comes from.
        shape: Gives a video-language model of its sizes, whose weights do not count.
    """

    name: str
    place: Path
    sort: Sort
    read: Callable[[torch.dtype], Contents]
    towers: Mapping[str, Spec] = field(default_factory=dict)
    language: Spec | None = None
    whole: Blueprint | DualBlueprint | None = None
    tokenizer: Callable[[], Any] | None = None
    prompt: Callable[[Any], tuple[Prompt, str]] | None = None
    shape: Callable[[], VideoLM] | None = None


def find_source(name: str, accept: Collection[Lack] = (), seed: int = 0) -> Source:
    """Tell what can be taken from a model or a part.

    Args:
        name: As for a recipe's `start`; or a folder or hub name of a part that is published alone, or a file
            of a dual encoder.
        accept: What a dual encoder may lack; see `recipe.Recipe`.
        seed: Of what it lacks.

    Raises:
        CheckpointError: If there is no such thing, or it is damaged or of no known layout.
        ConfigError: If a library that its files need is absent.
    """
    place = locate_dual(name)
    if place.suffix == ".gguf":
        return _part(name, published_part(place))
    if is_dual(place):
        return _dual(name, place, accept, seed)
    if (place / BLUEPRINT).is_file():
        return _own(name, place)
    if is_published(place) or ((place / ADAPTER).is_file() and not holds_part(place)):
        return _published(name, place)
    if holds_part(place):
        return _part(name, published_part(place))
    raise CheckpointError(
        place, "holds no model and no part of one", "give a model's folder, or that of a part published alone"
    )


def empty(blueprint: Blueprint) -> VideoLM:
    """A video-language model without memory for its weights."""
    with parameters_on_meta():
        return VideoLM(blueprint)


def _part(name: str, part: PublishedPart) -> Source:
    prefix = "language." if isinstance(part, LanguagePart) else f"{TOWER}."

    def read(dtype: torch.dtype) -> Contents:
        held = part.read(dtype)
        state = {prefix + key: tensor for key, tensor in held.state.items()}
        return Contents(part.family, state, held.files, held.tensors, held.ignored)

    place, data = part.folder, part.spec
    if isinstance(part, LanguagePart):
        return Source(
            name,
            place,
            "language model",
            read,
            language=data,
            tokenizer=part.tokenizer,
            prompt=part.prompt,
        )
    return Source(name, place, "vision tower", read, towers={TOWER: data})


def _dual(name: str, place: Path, accept: Collection[Lack], seed: int) -> Source:
    model, tokenizer, report = open_dual_encoder(place, accept=accept, seed=seed)

    def read(dtype: torch.dtype) -> Contents:
        del dtype
        return _told(report, model.state_dict())

    whole = model.blueprint
    return Source(
        name,
        place,
        "dual encoder",
        read,
        towers={TOWER: whole.tower},
        whole=whole,
        tokenizer=None if tokenizer is None else lambda: tokenizer,
    )


def _own(name: str, place: Path) -> Source:
    whole = read_blueprint(place)

    def read(dtype: torch.dtype) -> Contents:
        model, tokenizer = open_folder(place, dtype)
        held = len(untied(model))
        plain = untied(merged_model(model, tokenizer))
        return Contents(OWN, plain, (WEIGHTS,), held, merged=_adapters(model.state_dict()))

    return _speaks(name, place, whole, read, lambda: read_tokenizer(place), lambda: empty(whole))


def _published(name: str, place: Path) -> Source:
    model, tokenizer, report = open_published(place, None)

    def read(dtype: torch.dtype) -> Contents:
        del dtype
        return _told(report, untied(merged_model(model, tokenizer)))

    return _speaks(name, place, model.blueprint, read, lambda: tokenizer, lambda: model)


def _speaks(
    name: str,
    place: Path,
    whole: Blueprint,
    read: Callable[[torch.dtype], Contents],
    tokenizer: Callable[[], Any],
    shape: Callable[[], VideoLM],
) -> Source:
    return Source(
        name,
        place,
        "video-language model",
        read,
        towers={f"towers.{index}": spec for index, spec in enumerate(whole.towers)},
        language=whole.language,
        whole=whole,
        tokenizer=tokenizer,
        prompt=lambda _: (whole.prompt, f"the prompt of {name}"),
        shape=shape,
    )


def _told(report: LoadReport, state: Mapping[str, Tensor]) -> Contents:
    tensors = len(report.names) + len(report.ignored)
    merged = _adapters(report.names.values())
    return Contents(report.family, state, report.files, tensors, report.ignored, merged, mapped=True)


def _adapters(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if ".lora_" in name))
