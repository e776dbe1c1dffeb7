"""A module of transformers' read from its folder, with every tensor accounted for.

What transformers knows of a class's older names, of its pickled and its GGUF files is used as it is. What
it passes over with a remark is an error here: a tensor that is missing, of another shape, or not expected and
not named with a reason.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.hub._files import stored
from vidapt.hub._keys import Rule
from vidapt.hub._quiet import first_line, quiet
from vidapt.models.assign import mismatches, parameters_on_meta
from vidapt.models.bounds import Bound, bounded


@dataclass(frozen=True)
class Held:
    """The tensors of a part.

    Attributes:
        state: By their names within the part.
        files: Weight files that were read.
        tensors: How many tensors these files hold.
        ignored: Those of them that are not used, and why.
    """

    state: Mapping[str, Tensor]
    files: tuple[str, ...]
    tensors: int
    ignored: Mapping[str, str]


def refuse_misfit(kind: Any, folder: Path, config: Any) -> None:
    """See that a configuration describes nothing larger than the weights beside it.

    Args:
        kind: As `read_module` takes it.
        folder: As `read_module` takes it.
        config: As `read_module` takes it.

    Raises:
        CheckpointError: If it does, or the weights are damaged.
    """
    bound = Bound.of((entry.shape for entry in stored(folder).values()), folder / "config.json")
    build = getattr(kind, "from_config", kind)
    try:
        with quiet(), bounded(bound), parameters_on_meta():
            build(copy.deepcopy(config))
    except CheckpointError:
        raise
    except Exception:  # noqa: BLE001 - what cannot be built at all is told where it is to be used
        return


def read_module(
    kind: Any,
    folder: Path,
    config: Any,
    *,
    dtype: torch.dtype,
    unread: Sequence[Rule] = (),
    gguf: str | None = None,
) -> tuple[nn.Module, Held]:
    """Read a module.

    Args:
        kind: Its class, or one of transformers' `Auto` classes.
        folder: Where it lies.
        config: Its configuration.
        dtype: Number format of the weights in memory.
        unread: What the folder may hold that the module does not need, with reasons; targets are not used.
        gguf: Name of the GGUF file to read instead of safetensors or pickled weights.

    Returns:
        The module, and what became of the tensors; its state is the module's own.

    Raises:
        CheckpointError: If a file is damaged or would run code, a tensor is missing, has another shape or no
            place, or the weights are quantised or have adapters beside them.
    """
    _refuse(folder, config, gguf)
    if gguf is not None:
        named = _gguf_names(folder / gguf)
    else:  # which also refuses pickles that would run code
        named = {key: entry.file for key, entry in stored(folder).items()}
    options: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf}
    try:
        with quiet():
            module, told = kind.from_pretrained(
                str(folder),
                config=config,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, with names
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                **options,
            )
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        raise CheckpointError(
            folder, f"cannot be read: {first_line(error)}", "fetch the folder again"
        ) from error
    reasons = _reasons(told["unexpected_keys"], unread)
    _check(told, reasons, folder)
    ignored = {**reasons, **_passed_over(named.keys() - told["unexpected_keys"], module)}
    files = tuple(sorted(set(named.values())))
    return module, Held(module.state_dict(), files, len(named), ignored)


def _refuse(folder: Path, config: Any, gguf: str | None) -> None:
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            folder, "holds low-rank adapters beside its weights", "merge them with peft first, or remove them"
        )
    if gguf is None and getattr(config, "quantization_config", None) is not None:
        raise CheckpointError(
            folder / "config.json", "its weights are quantised, and cannot be adapted", "give the full ones"
        )


def _gguf_names(path: Path) -> dict[str, str]:
    from gguf import GGUFReader  # present, since the configuration was read with it

    try:
        return {str(tensor.name): path.name for tensor in GGUFReader(path).tensors}
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        raise CheckpointError(path, f"cannot be read: {first_line(error)}", "fetch it again") from error


def _reasons(unexpected: Iterable[str], unread: Sequence[Rule]) -> dict[str, str]:
    """Why tensors that have no place are not needed, where it is known."""
    why = {key: [rule.why for rule in unread if re.fullmatch(rule.pattern, key)] for key in unexpected}
    return {key: found[0] for key, found in why.items() if found}


def _check(told: Mapping[str, Any], reasons: Mapping[str, str], folder: Path) -> None:
    """Let nothing stay at random values, and nothing be left out without a reason."""
    wrong = [
        f"{key}: expected {list(ours)}, found {list(found)}" for key, found, ours in told["mismatched_keys"]
    ]
    odd = set(told["unexpected_keys"]) - reasons.keys()
    problems = mismatches(
        {
            "are missing": sorted(told["missing_keys"]),
            "have no place in the model": sorted(odd),
            "have the wrong shape": sorted(wrong),
            "could not be read": sorted(map(str, told["error_msgs"])),
        }
    )
    if problems:
        raise CheckpointError(
            folder, problems, "config.json and the weights disagree; fetch the folder again"
        )


def _passed_over(names: set[str], module: nn.Module) -> dict[str, str]:
    """Tensors that a class reads past without a word: buffers of older versions, computed today.

    Names are paired with the module's by their endings. Where some of the module's stay alone, the others
    were made into them (renamed, split, joined), and nothing was passed over.
    """
    persistent = module.state_dict().keys()
    ours = {name for name, _ in module.named_parameters()}
    ours |= {name for name, _ in module.named_buffers() if name in persistent}
    tails = {tail: name for name in ours for tail in _tails(name)}
    pairs = {name: next((tails[tail] for tail in _tails(name) if tail in tails), None) for name in names}
    if ours - set(pairs.values()):
        return {}
    return {name: "not read by today's transformers" for name, own in pairs.items() if own is None}


def _tails(name: str) -> Iterator[str]:
    pieces = name.split(".")
    return (".".join(pieces[index:]) for index in range(len(pieces) - 1))
