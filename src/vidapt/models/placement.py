"""Where a model's weights lie and how small they are: spread over devices for answering, or quantised.

Sources: accelerate's dispatching of layers, and bitsandbytes' LLM.int8 (Dettmers et al. 2022) and NF4
(Dettmers et al. 2023, "QLoRA").
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.libraries import load_quietly
from vidapt.models.video_lm import VideoLM

Bits = Literal[4, 8]


def quantizable(model: VideoLM) -> dict[str, nn.Linear]:
    """Linear layers of the language model by name, without its output layer and low-rank adapters."""
    load_quietly("peft")
    from peft.tuners.tuners_utils import BaseTunerLayer

    head = model.language.get_output_embeddings()
    adapters = {
        id(inner)
        for layer in model.language.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for inner in getattr(layer, name).modules()
    }
    return {
        name: layer
        for name, layer in model.language.named_modules()
        if type(layer) is nn.Linear and layer is not head and id(layer) not in adapters
    }


def quantize(model: VideoLM, bits: Bits, compute: torch.dtype | None = None) -> None:
    """Store the language model's linear layers in 4 (NF4) or 8 bits, in place.

    Its output layer and its adapters keep their formats. The weights become small when the model is moved to
    its device.

    Args:
        model: A whole one.
        bits: How many.
        compute: Number format in which 4 bits are multiplied; None is that of each weight.

    Raises:
        ConfigError: If bitsandbytes is not installed.
    """
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise ConfigError("bits", f"needs bitsandbytes: {error}", "pip install 'vidapt[quant]'") from error
    for name, layer in quantizable(model).items():
        model.language.set_submodule(name, _small(bnb, layer, bits, compute or layer.weight.dtype))


def _small(bnb: Any, layer: nn.Linear, bits: Bits, compute: torch.dtype) -> nn.Module:
    weight, shape = layer.weight.detach(), (layer.in_features, layer.out_features)
    bias = layer.bias is not None
    with torch.device("meta"):
        small: Any = (
            bnb.nn.Linear4bit(*shape, bias=bias, compute_dtype=compute, quant_type="nf4")
            if bits == 4
            else bnb.nn.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False)
        )
    small.weight = (
        bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", module=small)
        if bits == 4
        else bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    )
    small.bias = layer.bias
    assert isinstance(small, nn.Module)
    return small


def spread(model: VideoLM, device_map: dict[str, Any] | None = None, offload: str | None = None) -> None:
    """Put the language model's layers on several devices, in place; the rest lies where it reads words.

    Args:
        model: In evaluation mode.
        device_map: Module of the language model to device; None fills the devices there are in order.
        offload: Folder for layers mapped to `disk`.
    """
    from accelerate import dispatch_model, infer_auto_device_map

    language = model.language
    chosen = device_map or infer_auto_device_map(
        language, no_split_module_classes=list(language._no_split_modules or ())
    )
    computing = [place for place in chosen.values() if place not in ("cpu", "disk")]
    main = torch.device(computing[0] if computing else "cpu")
    dispatch_model(language, chosen, main_device=main, offload_dir=offload)
    if model.device.type == "meta":
        model.place = main
    for part in (model.towers, model.connector, model.resolution, model.scenes):
        if isinstance(part, nn.Module):
            part.to(model.device)
