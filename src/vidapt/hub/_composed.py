"""What families of the LLaVA kind share: one vision tower, a projector, one language model.

Source: transformers' `LlavaConfig` and its relatives, whose `vision_config` and `text_config` are
transformers configurations themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig

from vidapt.errors import CheckpointError
from vidapt.hub._keys import Rule
from vidapt.recipe import Spec

# Without meaning for the architecture; numbers' formats are chosen when a checkpoint is opened, and names of
# classes are called by numbers, which JSON does not give back.
_BOOKKEEPING = (
    *("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "auto_map"),
    *("id2label", "label2id"),
)

# Which part of the tower's output is read: LLaVA drops CLIP's class token, SigLIP has none to drop.
_SELECT = {"clip_vision_model": "default", "siglip_vision_model": "full"}

RECOMPUTED = (
    Rule(r".*\.embeddings\.position_ids", None, "0, 1, 2, ...; written by older versions of transformers"),
    Rule(r".*\.rotary_emb\.inv_freq", None, "computed from the configuration"),
)

NEWLINE = Rule(r"(?:model\.)?image_newline", None, "only tiled still images use it")

TOWER = Rule(r"(?:model\.)?vision_tower\.(?:vision_model\.)?(.*)", r"towers.0.net.\1")
LANGUAGE = Rule(r"language_model\.(.*)", r"language.\1")
LANGUAGE_BACK = Rule(r"language\.((?:model|lm_head)\..*)", r"language_model.\1")

HUB = (
    TOWER,
    Rule(r"(?:model\.)?multi_modal_projector\.linear_1\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"(?:model\.)?multi_modal_projector\.linear_2\.(.*)", r"connector.mlp.2.\1"),
    LANGUAGE,
    Rule(r"model\.language_model\.(.*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)
"""The 2024 hub layout, the layout in memory since transformers 5, and what that saves of a fresh model."""

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", r"vision_tower.vision_model.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"multi_modal_projector.linear_1.\1"),
    Rule(r"connector\.mlp\.2\.(.*)", r"multi_modal_projector.linear_2.\1"),
    LANGUAGE_BACK,
)
"""Our names to the 2024 hub layout."""


def tower(config: Mapping[str, Any], where: Path) -> Spec:
    """Specification of the vision tower, without its normalisation.

    Raises:
        CheckpointError: If it is read in a way that `frame_vit` does not offer.
    """
    arch = _section(config, "vision_config", "clip_vision_model", where)
    kind, layer = arch["model_type"], config.get("vision_feature_layer", -2)
    select = config.get("vision_feature_select_strategy", "default")
    if _SELECT.get(kind) != select or not isinstance(layer, int):
        raise CheckpointError(
            where,
            f"vision tower {kind!r} read by strategy {select!r} at layer {layer!r}",
            "known: CLIP without its class token, SigLIP in full, one layer of either",
        )
    return {"kind": "frame_vit", "arch": arch, "layer": layer}


def side(tower: Spec) -> int:
    """Side of the tower's input in pixels; 224 where the configuration leaves it at its default."""
    return int(tower["arch"].get("image_size", 224))


def language(config: Mapping[str, Any], where: Path) -> Spec:
    """Configuration of the language model.

    Raises:
        CheckpointError: If there is none.
    """
    spec = _section(config, "text_config", "llama", where)
    if "tie_word_embeddings" in config:
        spec.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    return spec


def one_newline(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors with the newline that its scenes share named once."""
    newlines = sorted(key for key in state if key.endswith(".newline"))
    return {key: tensor for key, tensor in state.items() if key not in newlines[1:]}


def check_projector(config: Mapping[str, Any], where: Path) -> bool:
    """Return whether the projector has biases.

    Raises:
        CheckpointError: If its activation is not exact GELU.
    """
    act = config.get("projector_hidden_act", "gelu")
    if act != "gelu":
        raise CheckpointError(where, f"projector_hidden_act is {act!r}", "only the exact `gelu` is supported")
    return bool(config.get("multimodal_projector_bias", True))


def flat_language(config: Mapping[str, Any], kind: type[PretrainedConfig]) -> Spec:
    """The language model's fields of a flat configuration, among which the authors' own stand.

    Older files give rotary positions as `rope_theta` and `rope_scaling`, which transformers still translates.
    """
    known = {*kind().to_dict(), "rope_theta", "rope_scaling"}
    return cleaned({key: value for key, value in config.items() if key in known}) | {
        "model_type": kind.model_type
    }


def cleaned(config: Mapping[str, Any]) -> dict[str, Any]:
    """A transformers configuration without its bookkeeping."""
    return {key: value for key, value in config.items() if key not in _BOOKKEEPING}


def _section(config: Mapping[str, Any], name: str, default: str, where: Path) -> dict[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict):
        raise CheckpointError(where, f"has no `{name}`", "fetch config.json again")
    return {"model_type": default, **cleaned(section)}
