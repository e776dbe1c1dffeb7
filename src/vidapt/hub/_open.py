"""Open a published checkpoint: its family is told by its config, and every tensor finds its place or fails.

The model is built without memory for its weights, the files are mapped, and tensors are handed over as
they are; only a change of number format copies.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

import vidapt.hub
from vidapt.errors import CheckpointError, ConfigError, nearest
from vidapt.hub._experts import Made, in_place
from vidapt.hub._experts import read as read_made
from vidapt.hub._few_bits_read import bits_of, restored
from vidapt.hub._files import Beside, Stored, beneath, load, read_json, stored
from vidapt.hub._keys import Rule, check, rename
from vidapt.hub._prompts import prompt_for
from vidapt.hub._report import LoadReport
from vidapt.hub._tokenizer import JSON, PIECES, SETTINGS, read_tokenizer
from vidapt.models.assign import assign, parameters_on_meta, without_twins
from vidapt.models.bounds import Bound, bounded
from vidapt.models.origin import Origin
from vidapt.models.video_lm import VideoLM
from vidapt.parts import refuse_endless
from vidapt.recipe import Blueprint

CONFIG = "config.json"

_KEPT = (
    CONFIG,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files of a checkpoint that say how it is used and hold no weights."""


def families() -> dict[str, ModuleType]:
    """The families that can be opened: one module each in this folder."""
    names = [m.name for m in pkgutil.iter_modules(vidapt.hub.__path__) if not m.name.startswith("_")]
    modules = [importlib.import_module(f"vidapt.hub.{name}") for name in names]
    return {module.FAMILY: module for module in modules}


def is_published(folder: Path) -> bool:
    """Whether a folder holds a configuration that one of the families claims."""
    path = folder / "config.json"
    return path.is_file() and bool(_claimants(read_json(path)))


def family_of(config: Mapping[str, Any], where: Path) -> ModuleType:
    """Find the family that claims a configuration's exact `model_type` and architecture.

    Raises:
        CheckpointError: If none does, or `architectures` is needed to decide.
    """
    claimants = _claimants(config)
    if len(claimants) == 1:
        return claimants[0]
    raise CheckpointError(
        where,
        f"model_type {config.get('model_type')!r}, architectures {config.get('architectures')!r}: not known",
        _nearest_claim(str(config.get("model_type"))),
    )


def _nearest_claim(kind: str) -> str:
    """What the family opens that claims the nearest `model_type`; a hint if none is near."""
    claims = [(module, *claim) for module in families().values() for claim in module.CLAIMS]
    known = sorted({theirs for _, theirs, _ in claims})
    close = difflib.get_close_matches(kind, known, n=1)
    if not close:
        return nearest(kind, known)
    near = [(module.FAMILY, architecture) for module, theirs, architecture in claims if theirs == close[0]]
    told = ", ".join(dict.fromkeys(architecture for _, architecture in near))
    return f"the nearest family is {near[0][0]!r}, which opens model_type {close[0]!r} as {told}"


def base_named_by(folder: Path) -> str | None:
    """Name or path of the checkpoint that a published folder's weights lie on; None where it holds them all.

    Raises:
        CheckpointError: If it holds some of its weights only and does not say.
    """
    config = read_json(folder / "config.json")
    family = family_of(config, folder / "config.json")
    if not hasattr(family, "is_partial") or not family.is_partial(stored(folder)):
        return None
    base = config.get("_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            folder / "config.json",
            "the folder holds what was trained only, and `_name_or_path` does not say on which checkpoint",
            "write the folder of that checkpoint, or its name on the model hub, as `_name_or_path`",
        )
    return base


def open_checkpoint(
    folder: Path,
    *,
    dtype: torch.dtype | None = torch.float32,
    edit: Callable[[Blueprint], Blueprint] | None = None,
    new_connector: bool = False,
    base: Path | None = None,
    rounded: bool = False,
) -> tuple[VideoLM, Any, LoadReport]:
    """Open a published checkpoint.

    Args:
        folder: Holds `config.json`, safetensors weights and the tokenizer's files.
        dtype: Number format of the weights in memory; None keeps each as it is stored.
        edit: Changes the blueprint before the model is built, for instance its frames or prompt.
        new_connector: Start the connector from random values and leave the checkpoint's out, as is
            needed when `edit` puts another one in its place.
        base: Folder of the checkpoint beneath, where this one holds what was trained only (`base_named_by`).
        rounded: Take weights in eight bits, as `export_hf` writes them, for answering only.

    Returns:
        The model in evaluation mode, its tokenizer, and what became of every tensor.

    Raises:
        CheckpointError: If the checkpoint is damaged, of no known family, or does not fit its own config.
    """
    config = read_json(folder / "config.json")
    refuse_endless(config, str(folder / "config.json"))
    family = family_of(config, folder / "config.json")
    tokenizer = read_tokenizer(base if base is not None and not _has_tokenizer(folder) else folder)
    # Some families keep towers in files of their own, beside the model's weights.
    beside: Mapping[str, Beside] = family.beside(config, folder) if hasattr(family, "beside") else {}
    beside = {**beside, **_beneath(folder, base)}
    bits, odd = bits_of(config) if rounded else None, set[str]()
    held = stored(folder, None if bits is None else odd)
    # Of some families, several stored tensors are one of the model's, or one is stored the other way round.
    made: Mapping[str, Made] = family.gathered(held, config) if hasattr(family, "gathered") else {}
    made = {**made, **({} if bits is None else restored(folder, held, odd, bits))}
    tensors = in_place(held, made)
    tensors |= {key: Stored(it.file, tuple(it.tensor.shape)) for key, it in beside.items()}
    plan, source = _described(family, config, folder, tokenizer)
    bound = Bound.of((entry.shape for entry in tensors.values()), folder / "config.json")
    model = _build(plan, bound, edit)
    _check_vocabulary(model, tokenizer, folder)
    table = rename(tensors, rules_of(family, tensors), folder, family.FAMILY)
    names, ignored = dict(table.names), dict(table.ignored)
    if new_connector:
        left_out = [old for old, new in names.items() if new.startswith("connector.")]
        ignored |= dict.fromkeys(left_out, "a new connector was asked for")
        names = {old: new for old, new in names.items() if old not in ignored}
        _renew_connector(model, dtype)
    own = {old: tensors[old] for old in names if old not in beside and old not in made}
    fit = {old: made[old] for old in names if old in made}
    others = [(old, beside[old].tensor) for old in names if old in beside]

    def read() -> Iterable[tuple[str, Tensor]]:
        return chain(load(folder, own), read_made(folder, held, fit), others)

    _fill(model, names, tensors, folder, dtype, read())
    report = LoadReport(
        family=family.FAMILY,
        folder=str(folder),
        files=tuple(sorted({entry.file for entry in tensors.values()})),
        names=names,
        missing=(),
        unexpected=(),
        initialised=tuple(sorted(_keys_under(model, "connector."))) if new_connector else (),
        ignored=ignored,
        dtype="as stored" if dtype is None else str(dtype).removeprefix("torch."),
        prompt=source,
        read=read,
    )
    model.origin = _origin(family, folder)
    return model.eval(), tokenizer, report


def describe_checkpoint(folder: Path) -> tuple[VideoLM, Any]:
    """A published checkpoint for its sizes alone, from a folder that need not hold its weights.

    Args:
        folder: Holds `config.json`, the processors' files and the tokenizer's.

    Returns:
        The model, its parameters on `meta` in the number format that the configuration names; its tokenizer.

    Raises:
        CheckpointError: If it is of no known family, or a file is missing or damaged.
    """
    config = read_json(folder / CONFIG)
    refuse_endless(config, str(folder / CONFIG))
    family = family_of(config, folder / CONFIG)
    tokenizer = read_tokenizer(folder)
    plan, _ = _described(family, config, folder, tokenizer)
    with _possible(folder), parameters_on_meta():
        model = VideoLM(plan)
    _check_vocabulary(model, tokenizer, folder)
    return model.to(_stored_in(config)).eval(), tokenizer


def _stored_in(config: Mapping[str, Any]) -> torch.dtype:
    """The number format in which weights are stored, as a configuration or its language model's has it."""
    for one in (config, config.get("text_config") or {}):
        name = str(one.get("dtype") or one.get("torch_dtype") or "").removeprefix("torch.")
        if name in ("float32", "float16", "bfloat16"):
            found: torch.dtype = getattr(torch, name)
            return found
    return torch.float32


def rules_of(family: ModuleType, keys: Collection[str]) -> Sequence[Rule]:
    """A family's key table; of some it depends on the keys themselves."""
    found: Sequence[Rule] = family.rules(keys) if hasattr(family, "rules") else family.RULES
    return found


def _claimants(config: Mapping[str, Any]) -> list[ModuleType]:
    """Families that claim a configuration; one that knows a closer sign (`NARROWS`, `narrows`) goes first."""
    known = list(families().values())
    closer = [m for m in known if _claims(getattr(m, "NARROWS", ()), config) and m.narrows(config)]
    return closer or [m for m in known if _claims(m.CLAIMS, config)]


def _claims(claims: Sequence[tuple[str, str]], config: Mapping[str, Any]) -> bool:
    kind, given = config.get("model_type"), config.get("architectures") or [None]
    architecture = given[0] if isinstance(given, list) else given
    return any(kind == k and architecture in (a, None) for k, a in claims)


def _described(
    family: ModuleType, config: Mapping[str, Any], folder: Path, tokenizer: Any
) -> tuple[Blueprint, str]:
    """What a configuration describes, and where its prompt comes from."""
    with _possible(folder):
        plan: Blueprint = family.blueprint(config, folder)
        media = config.get("image_token_id", config.get("image_token_index"))
        found = prompt_for(plan.language, folder, tokenizer, family.habit(config), media)
    return plan.model_copy(update={"prompt": found.prompt}), found.source


def _build(plan: Blueprint, bound: Bound, edit: Callable[[Blueprint], Blueprint] | None) -> VideoLM:
    """The model of a blueprint, without memory for its weights."""
    with _possible(bound.where.parent), bounded(bound), parameters_on_meta():
        return VideoLM(edit(plan) if edit else plan)


def _check_vocabulary(model: VideoLM, tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer that writes words which the language model has no rows for.

    Marks that were added to it may go beyond: some checkpoints have marks that nothing reads.
    """
    rows = model.language.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            folder,
            f"its tokenizer knows {tokenizer.vocab_size:,} words, its language model {rows:,}",
            "the tokenizer is another model's: fetch the folder again",
        )


@contextmanager
def _possible(folder: Path) -> Iterator[None]:
    """A config is untrusted input; what it may break is in pydantic, transformers and torch."""
    try:
        yield
    except (
        ConfigError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RuntimeError,
        StrictDataclassError,
    ) as error:
        raise CheckpointError(
            folder / "config.json",
            f"describes a model that cannot be built: {error}",
            "fetch the file again, or check what was edited",
        ) from error


def _beneath(folder: Path, base: Path | None) -> dict[str, Beside]:
    if base is not None:
        return beneath(base)
    named = base_named_by(folder)
    if named is None:
        return {}
    raise CheckpointError(
        folder, f"holds what was trained only; the rest is that of {named}", "give that folder as `base`"
    )


def _renew_connector(model: VideoLM, dtype: torch.dtype | None) -> None:
    """Replace the empty connector by one with real initial values."""
    fresh = type(model.connector)(
        model.connector.cfg,
        width_in=model.tower.width,
        width_out=model.language.get_input_embeddings().embedding_dim,
    )
    model.connector = fresh if dtype is None else fresh.to(dtype)


def _keys_under(model: nn.Module, prefix: str) -> list[str]:
    return [key for key in model.state_dict() if key.startswith(prefix)]


def _fill(
    model: VideoLM,
    names: Mapping[str, str],
    tensors: Mapping[str, Stored],
    folder: Path,
    dtype: torch.dtype | None,
    read: Iterable[tuple[str, Tensor]],
) -> None:
    """Put every tensor in its place."""
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if tensor.is_meta}
    found = {new: tensors[old].shape for old, new in names.items()}
    origin = {new: f"{old} in {tensors[old].file}" for old, new in names.items()}
    # Of parameters that are one and the same, a checkpoint may hold only one.
    wanted = without_twins(model, found)
    check({key: shape for key, shape in shapes.items() if key in wanted}, found, origin, folder)
    assign(model, ((names[old], tensor) for old, tensor in read), dtype, folder)


def _origin(family: ModuleType, folder: Path) -> Origin:
    """What is needed to write the model back as it was published."""
    # Where SentencePiece's file is all there is, it is kept; else the tokenizer writes its own.
    names = (*_KEPT, *(() if (folder / JSON).is_file() else (PIECES,)))
    return Origin(
        family.FAMILY, {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (JSON, PIECES, SETTINGS))
