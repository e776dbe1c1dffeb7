"""What a folder of low-rank adapters holds, by the names of the model that it was trained on.

Source: the layout that peft's `save_pretrained` writes (0.11 to 0.21), alone or called by LLaMA-Factory and
ms-swift: `adapter_config.json`, and `adapter_model.safetensors` or `adapter_model.bin`. An adapter's keys
are those of the layer it stands on and `lora_A`, `lora_B`. A weight that was trained as a whole
(`modules_to_save`, biases) stands beside them under its own name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub._files import read_json
from vidapt.hub._pickled import read_pickled
from vidapt.models.libraries import load_quietly

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

_KEY = re.compile(r"(?:base_model\.model\.)?(?P<layer>.*)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_WHOLE = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.*?)(?:\.modules_to_save(?:\.default)?|\.base_layer)?"
)
_ODD = re.compile(r".*(?:\.|_)(?:lora_|original_module|trainable_tokens|magnitude).*")
"""Names that neither an adapter's two matrices nor a whole weight have."""

_AGAIN = "save the adapter again, with peft"

_UNSUPPORTED = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
"""Fields that, if they are set, make something else of the model than adapters beside its layers."""

_PLAIN_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Initial values of adapters that leave the base as it is; those of PiSSA, for one, are taken out of it."""


@dataclass(frozen=True)
class Whole:
    """A weight of the base that was trained as a whole: the file's key, and its values."""

    key: str
    tensor: Tensor


@dataclass(frozen=True)
class Pair:
    """The adapter of one linear layer, or of a convolution whose kernel is as a row of such a layer.

    Attributes:
        keys: The file's, of `down` and `up`.
        down: [rank, in] (`lora_A`).
        up: [out, rank] (`lora_B`).
        scale: Factor on their product.
    """

    keys: tuple[str, str]
    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class AdapterFile:
    """What a folder of adapters holds.

    Attributes:
        file: Where the weights lie.
        pairs: By layers of the base.
        whole: By weights of the base.
        dropout: Of the adapters, in training.
        targets: Whether a layer of the base was meant to have an adapter.
    """

    file: Path
    pairs: Mapping[str, Pair]
    whole: Mapping[str, Whole]
    dropout: float
    targets: Callable[[str], bool]


def read_adapter(folder: Path) -> AdapterFile:
    """Read a folder of adapters.

    Raises:
        CheckpointError: If it is damaged, would run code, or holds something other than plain low-rank
            adapters and whole weights; the field or the key is named.
    """
    config = read_json(folder / CONFIG)
    _refuse_other_kinds(config, folder / CONFIG)
    file, tensors = _tensors(folder)
    sides, whole = _told_apart(tensors, file)
    try:
        pairs = {layer: _pair(layer, two, config, file) for layer, two in sides.items()}
        targets = _meant(config)
        _refuse_absent(config.get("modules_to_save") or (), whole, file)
        for layer in pairs:
            targets(layer)  # an expression that cannot be read is told now
        return AdapterFile(file, pairs, whole, _dropout(config), targets)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, re.error) as error:
        raise CheckpointError(folder / CONFIG, f"describes no adapters: {error!r}", _AGAIN) from error


def _dropout(config: Mapping[str, Any]) -> float:
    dropout = float(config.get("lora_dropout", 0.0))
    if not 0 <= dropout < 1:
        raise ValueError(f"a lora_dropout of {dropout}")
    return dropout


def _refuse_other_kinds(config: Mapping[str, Any], where: Path) -> None:
    odd = [key for key in _UNSUPPORTED if config.get(key)]
    begun = config.get("init_lora_weights")
    if begun not in _PLAIN_BEGINNINGS:
        odd.append(f"init_lora_weights: {begun!r}")
    if config.get("peft_type") != "LORA" or odd:
        raise CheckpointError(
            where,
            f"describes {config.get('peft_type')!r} adapters with {', '.join(odd) or 'fields of their own'}",
            "only plain low-rank adapters are supported; merge these with peft first",
        )


def _tensors(folder: Path) -> tuple[Path, Mapping[str, Tensor]]:
    file = folder / WEIGHTS
    if not file.exists() and (folder / PICKLED).exists():
        return folder / PICKLED, read_pickled(folder / PICKLED)
    try:
        return file, load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(file, f"cannot be read: {error}", _AGAIN) from error


def _told_apart(
    tensors: Mapping[str, Tensor], file: Path
) -> tuple[dict[str, dict[str, Whole]], dict[str, Whole]]:
    """The two sides of each layer's adapter, and whole weights."""
    sides: dict[str, dict[str, Whole]] = {}
    whole: dict[str, Whole] = {}
    for key, tensor in sorted(tensors.items()):
        match = _KEY.fullmatch(key)
        module, _, name = key.rpartition(".")
        if match is not None:
            sides.setdefault(match["layer"], {})[match["side"]] = Whole(key, tensor)
        elif name in ("weight", "bias") and not _ODD.fullmatch(key) and (found := _WHOLE.fullmatch(module)):
            whole[f"{found['module']}.{name}"] = Whole(key, tensor)
        else:
            raise CheckpointError(
                file, f"{key!r} is no adapter's weight", "save the adapter alone, with peft"
            )
        if not tensor.is_floating_point():
            raise CheckpointError(file, f"{key!r} holds {tensor.dtype}", "weights must be floats")
    if not tensors:
        raise CheckpointError(file, "holds no adapters", _AGAIN)
    return sides, whole


def _pair(layer: str, sides: Mapping[str, Whole], config: Mapping[str, Any], file: Path) -> Pair:
    load_quietly("peft")
    from peft.utils.other import get_pattern_key

    if len(sides) == 1:
        (side,) = sides
        raise CheckpointError(file, f"{layer!r} has lora_{side} alone", _AGAIN)
    down, up = sides["A"].tensor, sides["B"].tensor
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank = int(ranks.get(get_pattern_key(list(ranks), layer), config["r"]))
    alpha = float(alphas.get(get_pattern_key(list(alphas), layer), config["lora_alpha"]))
    if rank < 1:
        raise ValueError(f"a rank of {rank}")
    if down.ndim < 2 or len(down) != rank or up.shape != (len(up), rank, *[1] * (down.ndim - 2)):
        raise CheckpointError(
            file,
            f"{sides['A'].key} {list(down.shape)} and {sides['B'].key} {list(up.shape)} "
            f"are not of rank {rank}",
            f"{CONFIG} is of other adapters, or the file is damaged",
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not 0 < scale < math.inf:
        raise ValueError(f"a lora_alpha of {alpha}")
    return Pair((sides["A"].key, sides["B"].key), down.flatten(1), up.flatten(1), scale)


def _meant(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a layer is meant by `target_modules`, as peft reads it: names' ends, or an expression."""
    # Here, since peft takes seconds to import, and no command but these needs it.
    load_quietly("peft")
    from peft.tuners.tuners_utils import check_target_module_exists

    targets = config.get("target_modules")
    if targets == "all-linear":
        targets = ".*"
    if not isinstance(targets, str):
        targets = [str(target) if isinstance(target, str) else _no_name(target) for target in targets or ()]
    asked = SimpleNamespace(
        target_modules=targets,
        exclude_modules=config.get("exclude_modules"),
        layers_to_transform=config.get("layers_to_transform"),
        layers_pattern=config.get("layers_pattern"),
    )
    return lambda layer: bool(check_target_module_exists(asked, layer))


def _no_name(target: object) -> str:
    raise TypeError(f"target_modules holds {target!r}")


def _refuse_absent(names: Any, whole: Mapping[str, Whole], file: Path) -> None:
    absent = [
        name
        for name in names
        if not any(re.fullmatch(rf"(?:.*\.)?{re.escape(name)}\..*", key) for key in whole)
    ]
    if absent:
        raise CheckpointError(
            file,
            f"holds nothing of {', '.join(absent)}, which `modules_to_save` of {CONFIG} names",
            _AGAIN,
        )
