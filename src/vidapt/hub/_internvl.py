"""InternVL as its authors publish it: other names, query, key and value in one, a template by name.

Source: the configurations and files of OpenGVLab's InternVL3 and InternVL3.5, and their `conversation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._files import Beside, load, stored
from vidapt.hub._keys import Rule
from vidapt.hub._prompts import CHATML
from vidapt.recipe import Prompt, Spec

ARCHITECTURE = "InternVLChatModel"

_LAYER = r"vision_model\.encoder\.layers\.(\d+)\."
_FUSED = re.compile(_LAYER + r"attn\.qkv\.(weight|bias)")
_PARTS = ("q_proj", "k_proj", "v_proj")
_OURS = r"towers.0.net.encoder.layer.\1."

RULES = (
    Rule(_FUSED.pattern, None, "parted into query, key and value"),
    Rule(rf"{_LAYER}attn\.qkv\.(weight|bias):(\w+)", rf"{_OURS}attention.\3.\2"),
    Rule(rf"{_LAYER}attn\.proj\.(.*)", rf"{_OURS}attention.projection_layer.\2"),
    Rule(rf"{_LAYER}attn\.([qk]_norm\..*)", rf"{_OURS}attention.\2"),
    Rule(rf"{_LAYER}norm1\.(.*)", rf"{_OURS}layernorm_before.\2"),
    Rule(rf"{_LAYER}norm2\.(.*)", rf"{_OURS}layernorm_after.\2"),
    Rule(rf"{_LAYER}ls([12])", rf"{_OURS}lambda_\2"),
    Rule(rf"{_LAYER}(mlp\..*)", rf"{_OURS}\2"),
    Rule(r"vision_model\.embeddings\.class_embedding", "towers.0.net.embeddings.cls_token"),
    Rule(r"vision_model\.embeddings\.position_embedding", "towers.0.net.embeddings.position_embeddings"),
    Rule(
        r"vision_model\.embeddings\.patch_embedding\.(.*)",
        r"towers.0.net.embeddings.patch_embeddings.projection.\1",
    ),
    Rule(r"mlp1\.0\.(.*)", r"connector.norm.\1"),
    Rule(r"mlp1\.1\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"mlp1\.3\.(.*)", r"connector.mlp.2.\1"),
)
"""Their names to ours, behind `parted`; the language model's are those of transformers."""

_TOWER = r"towers\.0\.net\.encoder\.layer\.(\d+)\."
_THEIRS = r"vision_model.encoder.layers.\1."
TO_AUTHORS = (
    Rule(rf"{_TOWER}attention\.([qkv]_proj)\.(weight|bias)", rf"{_THEIRS}attn.qkv.\3:\2"),
    Rule(rf"{_TOWER}attention\.projection_layer\.(.*)", rf"{_THEIRS}attn.proj.\2"),
    Rule(rf"{_TOWER}attention\.([qk]_norm\..*)", rf"{_THEIRS}attn.\2"),
    Rule(rf"{_TOWER}layernorm_before\.(.*)", rf"{_THEIRS}norm1.\2"),
    Rule(rf"{_TOWER}layernorm_after\.(.*)", rf"{_THEIRS}norm2.\2"),
    Rule(rf"{_TOWER}lambda_([12])", rf"{_THEIRS}ls\2"),
    Rule(rf"{_TOWER}(mlp\..*)", rf"{_THEIRS}\2"),
    Rule(r"towers\.0\.net\.embeddings\.cls_token", "vision_model.embeddings.class_embedding"),
    Rule(r"towers\.0\.net\.embeddings\.position_embeddings", "vision_model.embeddings.position_embedding"),
    Rule(
        r"towers\.0\.net\.embeddings\.patch_embeddings\.projection\.(.*)",
        r"vision_model.embeddings.patch_embedding.\1",
    ),
    Rule(r"connector\.norm\.(.*)", r"mlp1.0.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"mlp1.1.\1"),
    Rule(r"connector\.mlp\.2\.(.*)", r"mlp1.3.\1"),
    _composed.LANGUAGE_BACK,
)
"""Our names to theirs, before `together`."""

_SYSTEM = (
    "你是书生·万象，英文名是InternVL，"
    "是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)

PROMPTS: Mapping[str, Prompt] = {
    "internvl2_5": CHATML.model_copy(update={"start": f"<|im_start|>system\n{_SYSTEM}<|im_end|>"}),
}
"""Their templates, by the name in `config.json`."""

_ARCH = {
    "qkv_bias": "attention_bias",
    "qk_normalization": "use_qk_norm",
}
"""Their names of a tower's fields to transformers'; others are called alike."""

_ARCH_SAME = (
    *("hidden_size", "hidden_act", "image_size", "intermediate_size", "layer_norm_eps", "norm_type"),
    *("num_attention_heads", "num_channels", "num_hidden_layers", "patch_size"),
)

_ARCH_DEFAULTS = {"qkv_bias": False, "qk_normalization": True, "norm_type": "rms_norm"}
"""What the authors' code takes where a configuration is silent, as far as it differs from transformers'."""


def is_authors(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of the authors' own."""
    return ARCHITECTURE in (config.get("architectures") or ())


def arch(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The tower's configuration as transformers calls it.

    Raises:
        CheckpointError: If there is none.
    """
    given = config.get("vision_config")
    if not isinstance(given, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    fields = {**_ARCH_DEFAULTS, **given}
    renamed = {ours: fields[theirs] for theirs, ours in _ARCH.items()}
    same = {name: fields[name] for name in _ARCH_SAME if name in fields}
    return {"model_type": "internvl_vision", "use_mean_pooling": True, **same, **renamed}


def language(config: Mapping[str, Any], where: Path) -> Spec:
    """Configuration of the language model.

    Raises:
        CheckpointError: If there is none.
    """
    given = config.get("llm_config")
    if not isinstance(given, dict):
        raise CheckpointError(where, "has no `llm_config`", "fetch config.json again")
    return _composed.cleaned(given)


def beside(folder: Path) -> dict[str, Beside]:
    """Query, key and value of every layer, which the files hold as one."""
    fused = {key: entry for key, entry in stored(folder).items() if _FUSED.fullmatch(key)}
    return {
        name: Beside(fused[key].file, part)
        for key, tensor in load(folder, fused)
        for name, part in parted({key: tensor}, folder).items()
    }


def parted(tensors: Mapping[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """Tensors with query, key and value apart, under the fused one's name and their own.

    Raises:
        CheckpointError: If a fused one cannot be parted.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if not _FUSED.fullmatch(key):
            found[key] = tensor
        elif tensor.shape[0] % len(_PARTS):
            raise CheckpointError(
                where,
                f"{key} has {tensor.shape[0]} rows, not three times as many as one part",
                "fetch it again",
            )
        else:
            found |= {f"{key}:{part}": rows for part, rows in zip(_PARTS, tensor.chunk(3), strict=True)}
    return found


def together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `parted`."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        fused, _, part = key.partition(":")
        if not part:
            found[key] = tensor
        elif fused not in found:
            found[fused] = torch.cat([tensors[f"{fused}:{one}"] for one in _PARTS])
    return found
