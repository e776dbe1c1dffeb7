"""A language model's matrices in eight bits, as servers read them.

Source: the formats of compressed-tensors, which vLLM and SGLang serve and transformers opens. `int8` rounds
weights to integers with one scale for each row (W8A16, `pack-quantized`); what they are multiplied with stays
as it is. `fp8` rounds weights to E4M3 with one scale for each row and, while the model is served, what they
are multiplied with, token by token (`float-quantized`). Neither needs any data. Towers, connector, embeddings
and the output layer keep their format.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.models.merging import Sequences
from vidapt.models.placement import quantizable
from vidapt.models.video_lm import VideoLM

Bits8 = Literal["int8", "fp8"]
FORMATS: Mapping[Bits8, str] = {"int8": "pack-quantized", "fp8": "float-quantized"}
_WEIGHT = ".weight"


@dataclass(frozen=True)
class Rounding:
    """What rounding weights changes, on a few sequences that the model read before and after.

    Attributes:
        divergence: Mean over positions of the Kullback-Leibler divergence of the next token, in nats.
        agreed: Share of positions at which the same token is the likeliest.
        positions: How many.
    """

    divergence: float
    agreed: float
    positions: int


@dataclass(frozen=True)
class Rounded:
    """A model's tensors, some in few bits.

    Attributes:
        tensors: By published names.
        config: What `config.json` says of them (`quantization_config`).
        told: What that changed.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    told: Rounding


def rounded(model: VideoLM, tokenizer: Any, tensors: Mapping[str, Tensor], bits: Bits8) -> Rounded:
    """Round a language model's matrices.

    Args:
        model: Without adapters; its matrices are rounded in place.
        tokenizer: Its tokenizer.
        tensors: Its weights by published names, as they lie in the model.
        bits: Format.

    Raises:
        ConfigError: If compressed-tensors is not installed.
        CheckpointError: If the published layout does not hold the language model's matrices one by one.
    """
    scheme, compressor = scheme_of(bits)
    chosen = _published_names(model, tensors)
    ignored = _ignored(tensors, chosen)
    sequences = Sequences.of(model, tokenizer)
    before = sequences.logits(model)
    made = {name: tensor for name, tensor in tensors.items() if name not in chosen}
    for name, weight in chosen.items():
        packed = _pack(weight, scheme, compressor)
        with torch.no_grad():
            weight.copy_(compressor.decompress(packed, scheme)["weight"])
        made |= {f"{name.removesuffix(_WEIGHT)}.{part}": tensor for part, tensor in packed.items()}
    told = _compared(before, sequences.logits(model))
    return Rounded(made, _config(scheme, bits, ignored), told)


def scheme_of(bits: Bits8) -> tuple[Any, Any]:
    """The library's description of a format, and what writes and reads it.

    Raises:
        ConfigError: If compressed-tensors is not installed.
    """
    try:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    except ImportError as error:
        raise ConfigError(
            "--weights", f"needs compressed-tensors: {error}", "pip install 'vidapt[export]'"
        ) from error
    kind = "int" if bits == "int8" else "float"
    weights = QuantizationArgs(num_bits=8, type=kind, strategy="channel", symmetric=True)
    read = QuantizationArgs(num_bits=8, type=kind, strategy="token", symmetric=True, dynamic=True)
    scheme = QuantizationScheme(
        targets=["Linear"], weights=weights, input_activations=None if bits == "int8" else read
    )
    return scheme, BaseCompressor.get_value_from_registry(FORMATS[bits])


def _pack(weight: Tensor, scheme: Any, compressor: Any) -> dict[str, Tensor]:
    """What is stored of a matrix: its numbers in few bits, their scales, and its shape if that is lost."""
    from compressed_tensors.quantization.utils import calculate_qparams

    wide = weight.detach().float()
    scale, _ = calculate_qparams(wide.amin(1, keepdim=True), wide.amax(1, keepdim=True), scheme.weights)
    packed = compressor.compress({"weight": wide, "weight_scale": scale}, scheme)
    return {part: tensor for part, tensor in packed.items() if part != "weight_zero_point"}


def _published_names(model: VideoLM, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices that are rounded, by their published names."""
    matrices = {id(layer.weight): name for name, layer in quantizable(model).items()}
    places = {layer.weight.data_ptr(): layer.weight for layer in quantizable(model).values()}
    found = {
        name: places[tensor.data_ptr()]
        for name, tensor in tensors.items()
        if tensor.data_ptr() in places and tensor.shape == places[tensor.data_ptr()].shape
    }
    lost = sorted(matrices[one] for one in matrices.keys() - {id(weight) for weight in found.values()})
    if lost or not all(name.endswith(_WEIGHT) for name in found):
        raise CheckpointError(
            "export",
            f"this family's layout does not hold all of the language model's matrices apart: {lost[:1]}",
            "export without --weights, and let the server round them",
        )
    return found


def _ignored(tensors: Mapping[str, Tensor], chosen: Collection[str]) -> list[str]:
    """Expressions for layers that keep their format, by the parts of their names that no rounded one has.

    Servers and transformers put words of their own in front of published names, so the last word of the
    shortest such part is looked for anywhere.

    Raises:
        CheckpointError: If there is no such word.
    """
    words: set[str] = set()
    for name, tensor in tensors.items():
        if name in chosen or tensor.ndim < 2:
            continue
        parts = name.split(".")
        fronts = (parts[:count] for count in range(1, len(parts)))
        words.add(next((front[-1] for front in fronts if not _begin(front, chosen)), parts[-2]))
    found = [rf"re:(.*\.)?{re.escape(word)}(\..*)?" for word in sorted(words)]
    clash = [name for name in chosen if set(name.split(".")) & words]
    if clash:
        raise CheckpointError(
            "export",
            f"what is rounded cannot be told by name from what is not, such as {clash[0]!r}",
            "export without --weights, and let the server round them",
        )
    return found


def _begin(front: list[str], names: Collection[str]) -> bool:
    start = ".".join(front) + "."
    return any(name.startswith(start) for name in names)


def _config(scheme: Any, bits: Bits8, ignored: list[str]) -> dict[str, Any]:
    from compressed_tensors.quantization import QuantizationConfig

    told: dict[str, Any] = QuantizationConfig(
        config_groups={"group_0": scheme},
        format=FORMATS[bits],
        quantization_status="compressed",
        ignore=ignored,
    ).model_dump(mode="json", exclude_none=True)
    return {**told, "quant_method": "compressed-tensors"}


def _compared(before: list[Tensor], after: list[Tensor]) -> Rounding:
    one, other = torch.cat(before).double().log_softmax(-1), torch.cat(after).double().log_softmax(-1)
    divergence = (one.exp() * (one - other)).sum(-1)
    agreed = one.argmax(-1) == other.argmax(-1)
    return Rounding(float(divergence.mean()), float(agreed.double().mean()), len(one))
