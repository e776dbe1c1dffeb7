"""InternVL 3 and 3.5: tiles of a still and a thumbnail behind them, a numbered tile for each frame.

Source: Zhu et al. 2025, "InternVL3" (arXiv 2504.10479) and Wang et al. 2025, "InternVL3.5" (arXiv
2508.18265); transformers' port of them, and the authors' own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CONFIG_MAPPING

from vidapt.errors import CheckpointError
from vidapt.hub import _composed, _internvl
from vidapt.hub._files import Beside
from vidapt.hub._keys import Rule, rename, rewrite
from vidapt.hub._preprocess import filter_of, processor
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "internvl"

TOKENS = "256 a tile: a still 256, or 256 x (1 + tiles) up to 3328; footage frames x 256"
LICENCE = "Apache-2.0 (3.5; 3 up to 14B); Qwen licence (3, 38B and 78B)"

CLAIMS = (
    ("internvl", "InternVLForConditionalGeneration"),
    ("internvl_chat", _internvl.ARCHITECTURE),
)
"""(model_type, architecture) of the configurations this family opens."""

RULES = (
    *_composed.RECOMPUTED,
    *_internvl.RULES,
    Rule(r"(?:model\.)?vision_tower\.(.*)", r"towers.0.net.\1"),
    Rule(r"(?:model\.)?multi_modal_projector\.layer_norm\.(.*)", r"connector.norm.\1"),
    Rule(r"(?:model\.)?multi_modal_projector\.linear_1\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"(?:model\.)?multi_modal_projector\.linear_2\.(.*)", r"connector.mlp.2.\1"),
    _composed.LANGUAGE,
    Rule(r"model\.language_model\.(.*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)
"""The hub's layout of 2025, the one in memory since transformers 5, and the authors'."""

TO_HUB = (
    Rule(r"towers\.0\.net\.(.*)", r"vision_tower.\1"),
    Rule(r"connector\.norm\.(.*)", r"multi_modal_projector.layer_norm.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"multi_modal_projector.linear_1.\1"),
    Rule(r"connector\.mlp\.2\.(.*)", r"multi_modal_projector.linear_2.\1"),
    _composed.LANGUAGE_BACK,
)
"""Our names to the hub's layout of 2025, which transformers still reads."""

TIMES = {
    "image": {"intro": "<img>", "outro": "</img>"},
    "images": {"intro": "<img>", "outro": "</img>"},
    "video": {"before": "Frame{number}: <img>", "between": "\n", "after": "</img>"},
}
"""What is written around tiles and frames. The model is told no times, only the number of each frame."""

_MIXTURES = frozenset({"qwen3_moe"})
"""Language models of which transformers keeps the experts of a layer in one tensor, unlike the files."""

_FRAMES = 8
"""Of the authors' examples."""

_TILES = {"min": 1, "max": 12}

is_authors = _internvl.is_authors


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own chat template; of the authors' files, what `template` names.

    Raises:
        CheckpointError: If the name is not known.
    """
    if not is_authors(config):
        return Habit(own={"chatml": CHATML})
    name = str(config.get("template"))
    if name not in _internvl.PROMPTS:
        known = " or ".join(_internvl.PROMPTS)
        remedy = f"models from 2.5 on open, whose template is {known}"
        raise CheckpointError("config.json", f"template is {name!r}", remedy)
    return Habit(template="never", only=_internvl.PROMPTS[name])


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    where = folder / "config.json"
    own = is_authors(config)
    tower = _authors_tower(config, where) if own else _tower(config, where)
    language = _internvl.language(config, where) if own else _composed.language(config, where)
    kind = language.get("model_type")
    if own and kind not in CONFIG_MAPPING:
        raise CheckpointError(
            where,
            f"its language model is of type {kind!r}, which only the authors' code makes",
            "the nearest that open are InternVL 2.5, 3 and 3.5 around Qwen2.5 or Qwen3",
        )
    if kind in _MIXTURES:
        raise CheckpointError(
            where,
            f"its language model is of type {kind!r}, whose files hold every expert apart",
            "models without a mixture of experts open, those of 1B to 38B among them",
        )
    file, stills = processor(folder, "image")
    _, video = processor(folder, "video")
    normalise = {
        name: tuple(stills[f"image_{name}"]) for name in ("mean", "std") if f"image_{name}" in stills
    }
    used = filter_of(stills, file)
    return Blueprint(
        towers=({**tower, **normalise},),
        connector={"kind": "pixel_shuffle", "stride": _stride(config, where)},
        language=language,
        resolution={"kind": "tiles", "filter": used, **_tiles(config, stills, tower, where)},
        scenes={"video": {"kind": "whole", "filter": "pillow" if own else used}},
        times=TIMES,
        # The middles of equal stretches. The authors' examples round them to whole frames.
        frames=Uniform(count=int(video.get("num_frames") or _FRAMES), at="midpoints", pad=False),
    )


def beside(config: Mapping[str, Any], folder: Path) -> dict[str, Beside]:
    """Of the authors' files, what they hold as one tensor and the tower has apart; see `_internvl.beside`."""
    return _internvl.beside(folder) if is_authors(config) else {}


def to_ours(tensors: Mapping[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """Tensors of any of the layouts by our names.

    Args:
        tensors: By the published names.
        where: Their file, for errors.

    Raises:
        CheckpointError: If a tensor is of another family, or cannot be parted.
    """
    separate = _internvl.parted(tensors, where)
    names = rename(separate, RULES, where, FAMILY).names
    return {new: separate[old] for old, new in names.items()}


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the hub's layout; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout; see `_keys.rewrite`."""
    return _internvl.together(rewrite(state, _internvl.TO_AUTHORS, FAMILY))


def _tower(config: Mapping[str, Any], where: Path) -> Spec:
    arch = config.get("vision_config")
    if not isinstance(arch, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    layer, select = (
        config.get("vision_feature_layer", -1),
        config.get("vision_feature_select_strategy", "default"),
    )
    act = config.get("projector_hidden_act", "gelu")
    if select != "default" or not isinstance(layer, int) or act != "gelu":
        raise CheckpointError(
            where,
            f"vision tower read by strategy {select!r} at layer {layer!r}, projector of {act!r}",
            "known: `default`, one layer, and the exact `gelu`",
        )
    return {
        "kind": "intern_vit",
        "arch": {"model_type": "internvl_vision", **_composed.cleaned(arch)},
        "layer": layer,
    }


def _authors_tower(config: Mapping[str, Any], where: Path) -> Spec:
    arch = _internvl.arch(config, where)
    known = {
        "ps_version": "v2",
        "pad2square": False,
        "use_thumbnail": True,
        "force_image_size": arch.get("image_size", 224),
    }
    for field, value in known.items():
        if config.get(field, value) not in (value, None):
            raise CheckpointError(where, f"{field} is {config[field]!r}", f"only {value!r} is supported")
    return {"kind": "intern_vit", "arch": arch, "layer": int(config.get("select_layer", -1))}


def _stride(config: Mapping[str, Any], where: Path) -> int:
    ratio = float(config.get("downsample_ratio", 0.5))
    stride = round(1 / ratio) if ratio > 0 else 0
    if stride < 1 or stride * ratio != 1:
        raise CheckpointError(where, f"downsample_ratio is {ratio}", "known: 0.5, and other whole parts")
    return stride


def _tiles(config: Mapping[str, Any], stills: Mapping[str, Any], tower: Spec, where: Path) -> Spec:
    """How many tiles, by the authors' configuration or the processor, whose size must be the tower's."""
    side = _side(tower["arch"].get("image_size", 448))
    size = stills.get("size")
    given = {_side(value) for value in (size.values() if isinstance(size, dict) else [size]) if value}
    if given - {side}:
        raise CheckpointError(
            where,
            f"stills of {sorted(given)} pixels are prepared for a tower of {side}",
            "config.json and preprocessor_config.json are of two models; fetch both again",
        )
    if is_authors(config):
        least, most = (config.get(f"{end}_dynamic_patch", _TILES[end]) for end in ("min", "max"))
        divided = config.get("dynamic_image_size", True)
    else:
        least, most = (stills.get(f"{end}_patches") or _TILES[end] for end in ("min", "max"))
        divided = True  # the processor asks for tiles, whatever its image processor says by itself
    return {"least": int(least), "most": int(most)} if divided else {"most": 1}


def _side(length: Any) -> int:
    return int(length[0] if isinstance(length, list | tuple) else length)
