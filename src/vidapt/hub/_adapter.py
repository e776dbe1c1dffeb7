"""Low-rank adapters in a folder of their own (peft's layout), on the checkpoint they were trained for.

The base family's key table tells where each layer is. Adapters on the language model's layers stay adapters.
Those on the connector and the towers are added to the weights, as a model here has adapters in its language
model alone. Weights that were trained as a whole take the place of the base's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.hub._adapter_file import CONFIG, AdapterFile, Pair, read_adapter
from vidapt.hub._files import read_json
from vidapt.hub._keys import Shape, check, rename
from vidapt.hub._open import families, open_checkpoint, rules_of
from vidapt.hub._report import LoadReport
from vidapt.models.adapters import added
from vidapt.models.assign import assign, parameters_on_meta
from vidapt.models.lora import add_adapters
from vidapt.models.origin import Origin
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

_LANGUAGE = "language."
_TIED = "tie_word_embeddings"


def base_of(folder: Path) -> str:
    """Name or path of the checkpoint an adapter's folder was trained for.

    Raises:
        CheckpointError: If the folder does not say.
    """
    base = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            folder / CONFIG, "has no `base_model_name_or_path`", "write the base checkpoint's folder there"
        )
    return base


def open_adapter(
    folder: Path, base: Path, dtype: torch.dtype | None = torch.float32
) -> tuple[VideoLM, Any, LoadReport]:
    """Open a checkpoint and put an adapter's folder on it.

    Args:
        folder: The adapter's.
        base: The checkpoint's.
        dtype: See `open_checkpoint`.

    Returns:
        The model with the adapters as part of its blueprint, its tokenizer, and the report of the base, in
        whose `files` the adapter's stands last.

    Raises:
        CheckpointError: If either is damaged, or the adapters are for another base: each tensor that is
            missing, has no place or another shape is named.
    """
    adapter = read_adapter(folder)
    model, tokenizer, report = open_checkpoint(base, dtype=dtype)
    layers = _translated(adapter.pairs, ".weight", report.family, folder)
    weights = _translated(adapter.whole, "", report.family, folder)
    try:
        _check(model, adapter, layers, weights)
    except CheckpointError as error:
        raise CheckpointError(
            folder, f"the adapters do not fit {base}\n{error.found}", "are they for another base?"
        ) from error
    model = _with_whole(model, {weights[name]: it.tensor for name, it in adapter.whole.items()}, folder)
    pairs = {layers[name]: pair for name, pair in adapter.pairs.items()}
    kept = {name: pair for name, pair in pairs.items() if name.startswith(_LANGUAGE)}
    _refuse_shared_head(model, kept, adapter.file)
    with torch.no_grad():
        for name in pairs.keys() - kept.keys():
            weight, pair = model.get_parameter(f"{name}.weight"), pairs[name]
            weight.copy_(added(weight, pair.scale * (pair.up.float() @ pair.down.float())))
        if kept:
            _adapt(model, kept, adapter.dropout)
    return model.eval(), tokenizer, replace(report, files=(*report.files, str(adapter.file)))


def _translated(names: Iterable[str], tail: str, family: str, folder: Path) -> dict[str, str]:
    """Our names of layers or weights."""
    whole = {f"{name}{tail}" for name in names}
    found = rename(whole, rules_of(families()[family], whole), folder, family).names
    return {name: found.get(f"{name}{tail}", name).removesuffix(tail) for name in names}


def _layers(model: nn.Module) -> dict[str, Shape]:
    """What may have an adapter, with the numbers of its outputs and of what goes into one of them."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        name: (len(m.weight), m.weight[0].numel())
        for name, m in model.named_modules()
        if isinstance(m, kinds) and getattr(m, "groups", 1) == 1
    }


def _check(
    model: VideoLM, adapter: AdapterFile, layers: Mapping[str, str], weights: Mapping[str, str]
) -> None:
    """Compare what is there with what the base has place for, and with what was meant to be adapted."""
    places = _layers(model)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    expected = {name: shapes[name] for name in weights.values() if name in shapes}
    found: dict[str, Shape] = {}
    origin: dict[str, str] = {}
    for theirs, ours in weights.items():
        found[ours], origin[ours] = tuple(adapter.whole[theirs].tensor.shape), adapter.whole[theirs].key
    for theirs, ours in layers.items():
        pair = adapter.pairs[theirs]
        for side, key, tensor in zip("AB", pair.keys, (pair.down, pair.up), strict=True):
            found[f"{ours}.lora_{side}"], origin[f"{ours}.lora_{side}"] = tuple(tensor.shape), key
        for name in (ours, *_forgotten(theirs, ours, layers.values(), places, adapter)):
            if name in places:
                out, into = places[name]
                rank = len(pair.down)
                expected |= {f"{name}.lora_A": (rank, into), f"{name}.lora_B": (out, rank)}
    check(expected, found, origin, adapter.file)


def _forgotten(
    theirs: str, ours: str, known: Iterable[str], places: Iterable[str], adapter: AdapterFile
) -> list[str]:
    """The same layer of other blocks, if it was meant to have an adapter and has none."""
    block = re.compile(r"(.*\.)\d+(\..*)")
    there, here = block.fullmatch(theirs), block.fullmatch(ours)
    if there is None or here is None:
        return []
    alike = re.compile(rf"{re.escape(here[1])}(\d+){re.escape(here[2])}")
    numbers = {name: match[1] for name in set(places) - set(known) if (match := alike.fullmatch(name))}
    return [name for name, n in numbers.items() if adapter.targets(f"{there[1]}{n}{there[2]}")]


def _with_whole(model: VideoLM, weights: Mapping[str, Tensor], folder: Path) -> VideoLM:
    """The model with some weights replaced; what is tied in it and differs in the file is untied."""
    table, head = model.language.get_input_embeddings(), model.language.get_output_embeddings()
    if table.weight is head.weight:
        shared = [n for n, p in model.named_parameters(remove_duplicate=False) if p is head.weight]
        given = [weights[name] for name in shared if name in weights]
        if given and not (len(given) == len(shared) and all(torch.equal(given[0], g) for g in given)):
            model = _untied(model, shared[1:], folder)
    with torch.no_grad():
        for name, tensor in weights.items():
            model.state_dict()[name].copy_(tensor)
    return model


def _untied(model: VideoLM, others: Sequence[str], folder: Path) -> VideoLM:
    """The same model with an output layer of its own."""
    language = {**model.blueprint.language, _TIED: False}
    with parameters_on_meta():
        apart = VideoLM(model.blueprint.model_copy(update={"language": language}))
    state = model.state_dict().items()
    assign(apart, ((n, t.clone() if n in others else t) for n, t in state), None, folder)
    apart.origin = _untied_origin(model.origin)
    return apart


def _untied_origin(origin: Origin | None) -> Origin | None:
    if origin is None:
        return None
    config = origin.read("config.json") | {_TIED: False}
    if isinstance(config.get("text_config"), dict):
        config["text_config"][_TIED] = False
    return replace(origin, files={**origin.files, "config.json": json.dumps(config, indent=2).encode()})


def _refuse_shared_head(model: VideoLM, layers: Iterable[str], file: Path) -> None:
    table, head = model.language.get_input_embeddings(), model.language.get_output_embeddings()
    adapted = [name for name in layers if model.get_submodule(name) is head]
    if adapted and table.weight is head.weight:
        raise CheckpointError(
            file,
            f"adapts {adapted[0].removeprefix(_LANGUAGE)}, whose weight is that of the word embeddings, too",
            "merge these adapters with peft first",
        )


def _adapt(model: VideoLM, pairs: Mapping[str, Pair], dropout: float) -> None:
    """Add adapters of one rank and one scale; smaller ones are filled up with zeros, which change nothing."""
    rank = max(len(pair.down) for pair in pairs.values())
    scale = next(iter(pairs.values())).scale
    lora = LoRA(rank=rank, alpha=scale * rank, dropout=dropout, targets=_targets(model, pairs))
    add_adapters(model.language, lora)
    model.blueprint = model.blueprint.model_copy(update={"adapters": lora})
    for name, pair in pairs.items():
        more = rank - len(pair.down)
        down, up = F.pad(pair.down, (0, 0, 0, more)), F.pad(pair.up.float() * (pair.scale / scale), (0, more))
        model.get_parameter(f"{name}.lora_A.default.weight").copy_(down)
        model.get_parameter(f"{name}.lora_B.default.weight").copy_(up)


def _targets(model: VideoLM, layers: Iterable[str]) -> tuple[str, ...]:
    """Last names, where all layers of that name are adapted; else whole names within the language model."""
    adapted = {name.removeprefix(_LANGUAGE) for name in layers}
    every = _layers(model.language).keys()
    partly = {name.rpartition(".")[2] for name in every - adapted}
    names = {name if (last := name.rpartition(".")[2]) in partly else last for name in adapted}
    return tuple(sorted(names))
