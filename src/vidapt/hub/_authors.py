"""Checkpoints as LLaVA's authors publish them: flat, with `mm_` before what joins tower and language model.

Source: haotian-liu/LLaVA and LLaVA-VL/LLaVA-NeXT. Their `config.json` is the language model's, among whose
fields their own stand; it names the vision tower instead of describing it. Most of their files hold the
tower's weights; where one does not, they are taken from a folder of the name's last part, within the
checkpoint's folder or beside it, as a copy of the tower from the hub is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config

from vidapt.errors import CheckpointError
from vidapt.hub import _composed, _dual
from vidapt.hub._files import Beside, load, read_json, stored
from vidapt.hub._keys import Rule, Shape, rewrite
from vidapt.recipe import Spec

_CLIP_LARGE: Spec = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}

_SIGLIP_SO400M: Spec = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
}

_NAMED: Mapping[str, Spec] = {
    "openai/clip-vit-large-patch14": {**_CLIP_LARGE, "image_size": 224},
    "openai/clip-vit-large-patch14-336": {**_CLIP_LARGE, "image_size": 336},
    "google/siglip-so400m-patch14-384": _SIGLIP_SO400M,
}
"""Architecture of towers, by the name in `mm_vision_tower`."""

_LANGUAGES: Mapping[str, type[PretrainedConfig]] = {
    "LlavaLlamaForCausalLM": LlamaConfig,
    "LlavaMistralForCausalLM": MistralConfig,
    "LlavaQwenForCausalLM": Qwen2Config,
}
"""The language model's configuration, by the architecture in the authors' files."""

_VIDEO: Mapping[str, str] = {
    "add_time_instruction": (
        "the sentence about a clip's length and times is not written yet; set it to false to go without"
    ),
    "add_faster_video": "a second, faster reading of videos is not supported",
}
"""Ways in which LLaVA-Video reads videos that vidapt does not offer, and what to do."""

_FIELD, _OWN = "mm_vision_tower", "model.vision_tower.vision_tower."
_CUT = f"{_FIELD}:cut:"
"""What stands in front of the names of a tower's tensors that the authors' code takes away."""

RULES = (
    Rule(re.escape(_CUT) + ".*", None, "the authors cut SigLIP's last layer and its head off"),
    Rule(rf"{_FIELD}:(?:text_model|text_projection|visual_projection)\..*", None, "only the tower sees"),
    Rule(rf"{_FIELD}:logit_(?:scale|bias)", None, "only the tower sees"),
    Rule(rf"{_FIELD}:(?:vision_model\.)?(.*)", r"towers.0.net.\1"),
    Rule(rf"{re.escape(_OWN)}vision_model\.(.*)", r"towers.0.net.\1"),
    Rule(r"model\.mm_projector\.([02])\.(.*)", r"connector.mlp.\1.\2"),
    Rule(r"model\.((?:embed_tokens|layers|norm)\..*)", r"language.model.\1"),
)
"""What names of theirs become, beside `lm_head`, which is called as everywhere."""

TO_AUTHORS = (
    Rule(r"towers\.0\.net\.(.*)", rf"{_OWN}vision_model.\1"),
    Rule(r"connector\.mlp\.([02]\..*)", r"model.mm_projector.\1"),
    Rule(r"(?:resolution|scenes\.\w+)\.newline", "model.image_newline"),
    Rule(r"language\.((?:model|lm_head)\..*)", r"\1"),
)
"""Our names to theirs."""


def is_authors(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of the authors' own."""
    named = config.get("architectures")
    return isinstance(named, list) and any(name in _LANGUAGES for name in named if isinstance(name, str))


def language(config: Mapping[str, Any]) -> Spec:
    """Configuration of the language model."""
    kind = next(_LANGUAGES[name] for name in config["architectures"] if name in _LANGUAGES)
    return _composed.flat_language(config, kind)


def tower(config: Mapping[str, Any], folder: Path) -> Spec:
    """Specification of the vision tower, without its normalisation.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it is none that vidapt knows, nor lies in a folder of its own, nor is a CLIP whose
            weights tell its sizes; or if it is joined in a way no part offers.
    """
    where = folder / "config.json"
    for field, value in {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "patch"}.items():
        if config.get(field, value) != value:
            raise CheckpointError(where, f"{field} is {config[field]!r}", f"only {value!r} is supported")
    arch = _arch(config, folder)
    if arch["model_type"] == "siglip_vision_model":
        # Their code takes the last layer and the head away, and reads the last one left, whatever it is told.
        layers = int(arch.get("num_hidden_layers", 12)) - 1
        cut = {**arch, "num_hidden_layers": layers, "vision_use_head": False}
        return {"kind": "frame_vit", "arch": cut, "layer": -1}
    return {"kind": "frame_vit", "arch": arch, "layer": int(config.get("mm_vision_select_layer", -2))}


def beside(config: Mapping[str, Any], folder: Path) -> dict[str, Beside]:
    """The tensors of a tower that the checkpoint names and does not hold.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where the rest of it lies.

    Returns:
        By their own names behind `mm_vision_tower:`; none where the checkpoint holds its tower.

    Raises:
        CheckpointError: If the tower is nowhere.
    """
    if not is_authors(config) or any(key.startswith(_OWN) for key in stored(folder)):
        return {}
    place = _place(config, folder)
    if place is None:
        raise CheckpointError(
            folder,
            f"holds no vision tower, but names {config.get(_FIELD)!r} as {_FIELD}",
            f"put a copy of that model's folder into this one or beside it, as {_name(config)!r}",
        )
    cut = _cut_keys(config, folder)
    return {
        f"{_CUT if cut.fullmatch(key) else f'{_FIELD}:'}{key}": Beside(f"{place.name}/{file}", tensor)
        for (key, tensor), file in _named(place)
    }


def check_video(config: Mapping[str, Any], where: Path) -> None:
    """Check that videos are read as vidapt reads them: at one speed, with nothing said of times.

    Raises:
        CheckpointError: If the model was trained on videos read in another way.
    """
    for field, remedy in _VIDEO.items():
        if config.get(field):
            raise CheckpointError(where, f"{field} is {config[field]!r}", remedy)


def to_authors(state: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; the newline that scenes share becomes one again.

    Args:
        state: `state_dict()` of a VideoLM, adapters merged.
        family: For errors.

    Raises:
        CheckpointError: If a tensor has no place in that layout.
    """
    return rewrite(_composed.one_newline(state), TO_AUTHORS, family)


def tower_described(config: Mapping[str, Any], tower: Spec) -> tuple[str, dict[str, Any]] | None:
    """The folder's name and the `config.json` of a tower that is not known by its name.

    Args:
        config: The checkpoint's `config.json`.
        tower: Its specification, as `tower` gave it.

    Returns:
        None for a tower whose name tells it.
    """
    if str(config.get(_FIELD)) in _NAMED or not _name(config):
        return None
    arch = dict(tower["arch"])
    if arch["model_type"] == "siglip_vision_model":
        arch["num_hidden_layers"] += 1
        del arch["vision_use_head"]
    return _name(config), arch


def _arch(config: Mapping[str, Any], folder: Path) -> Spec:
    name, place = str(config.get(_FIELD)), _place(config, folder)
    if place is not None:
        given = read_json(place / "config.json")
        section = given.get("vision_config", given)
        known = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
        kind = str(given.get("model_type"))
        return {**_composed.cleaned(section), "model_type": known.get(kind, kind)}
    if name in _NAMED:
        return dict(_NAMED[name])
    shapes = _shapes(folder)
    if "net.embeddings.class_embedding" in shapes:
        return _dual.Shapes(shapes, folder).vision("net")
    raise CheckpointError(
        folder / "config.json",
        f"{_FIELD} is {name!r}, which is not known",
        f"put that model's folder beside this one, as {_name(config)!r}; known by name: {', '.join(_NAMED)}",
    )


def _shapes(folder: Path) -> dict[str, Shape]:
    """Of the tower that a checkpoint holds, by transformers' names behind `net.`; none without weights."""
    prefix = f"{_OWN}vision_model."
    try:
        held = stored(folder)
    except CheckpointError:  # told by whoever reads them
        return {}
    return {f"net.{k.removeprefix(prefix)}": e.shape for k, e in held.items() if k.startswith(prefix)}


def _name(config: Mapping[str, Any]) -> str:
    """Last part of the tower's name; empty where it is no name of a folder."""
    name = Path(str(config.get(_FIELD))).name
    return "" if name == ".." else name


def _place(config: Mapping[str, Any], folder: Path) -> Path | None:
    """Folder of the tower that is named. A configuration is untrusted: only its last part counts."""
    name = _name(config)
    places = (folder / name, folder.resolve().parent / name) if name else ()
    return next((place for place in places if (place / "config.json").is_file()), None)


def _named(place: Path) -> list[tuple[tuple[str, Tensor], str]]:
    tensors = stored(place)
    return [((key, tensor), tensors[key].file) for key, tensor in load(place, tensors)]


def _cut_keys(config: Mapping[str, Any], folder: Path) -> re.Pattern[str]:
    """Names of a tower's tensors that the authors' code takes away."""
    arch = tower(config, folder)["arch"]
    if arch["model_type"] != "siglip_vision_model":
        return re.compile("(?!)")
    return re.compile(rf"(?:vision_model\.)?(?:encoder\.layers\.{arch['num_hidden_layers']}\.|head\.).*")
