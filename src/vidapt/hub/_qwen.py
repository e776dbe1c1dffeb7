"""What the families of Qwen's vision-language models share: configurations, processor files, tensors' names.

Source: the released configurations and processor files of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5, and
transformers' classes of these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed
from vidapt.hub._keys import Rule
from vidapt.hub._preprocess import Kind, filter_of, processor
from vidapt.recipe import Blueprint, Prompt, Spec, TimeText

_RECOMPUTED = (
    *_composed.RECOMPUTED,
    Rule(r".*\.rotary_pos_emb\.inv_freq", None, "computed from the configuration"),
)

RULES_2 = (
    *_RECOMPUTED,
    Rule(r"(?:model\.)?visual\.merger\.ln_q\.(.*)", r"connector.norm.\1"),
    Rule(r"(?:model\.)?visual\.merger\.mlp\.([02]\..*)", r"connector.mlp.\1"),
    Rule(r"(?:model\.)?visual\.((?:patch_embed|blocks)\..*)", r"towers.0.net.\1"),
    Rule(r"model\.(?:language_model\.)?((?:embed_tokens|layers|norm)\..*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)
"""Qwen2-VL and Qwen2.5-VL: the hub's layout, which transformers also saves, and the one in memory since
transformers 5."""

TO_HUB_2 = (
    Rule(r"connector\.norm\.(.*)", r"visual.merger.ln_q.\1"),
    Rule(r"connector\.mlp\.([02]\..*)", r"visual.merger.mlp.\1"),
    Rule(r"towers\.0\.net\.(.*)", r"visual.\1"),
    Rule(r"language\.((?:model|lm_head)\..*)", r"\1"),
)
"""Our names to that layout of the hub."""

_DEEP = r"model\.visual\.deepstack_merger_list\.(\d+)"

RULES_3 = (
    *_RECOMPUTED,
    Rule(r"mtp\..*", None, "guesses several tokens at once, which neither training nor generation here does"),
    Rule(r"model\.visual\.merger\.norm\.(.*)", r"connector.norm.\1"),
    Rule(r"model\.visual\.merger\.linear_fc1\.(.*)", r"connector.mlp.0.\1"),
    Rule(r"model\.visual\.merger\.linear_fc2\.(.*)", r"connector.mlp.2.\1"),
    Rule(rf"{_DEEP}\.norm\.(.*)", r"connector.deep.\1.norm.\2"),
    Rule(rf"{_DEEP}\.linear_fc1\.(.*)", r"connector.deep.\1.mlp.0.\2"),
    Rule(rf"{_DEEP}\.linear_fc2\.(.*)", r"connector.deep.\1.mlp.2.\2"),
    Rule(r"model\.visual\.((?:patch_embed|pos_embed|blocks)\..*)", r"towers.0.net.\1"),
    Rule(r"model\.language_model\.(.*)", r"language.model.\1"),
    Rule(r"lm_head\.(.*)", r"language.lm_head.\1"),
)
"""Qwen3-VL and Qwen3.5, whose layout on the hub is that in memory."""

TO_HUB_3 = (
    Rule(r"connector\.norm\.(.*)", r"model.visual.merger.norm.\1"),
    Rule(r"connector\.mlp\.0\.(.*)", r"model.visual.merger.linear_fc1.\1"),
    Rule(r"connector\.mlp\.2\.(.*)", r"model.visual.merger.linear_fc2.\1"),
    Rule(r"connector\.deep\.(\d+)\.norm\.(.*)", r"model.visual.deepstack_merger_list.\1.norm.\2"),
    Rule(r"connector\.deep\.(\d+)\.mlp\.0\.(.*)", r"model.visual.deepstack_merger_list.\1.linear_fc1.\2"),
    Rule(r"connector\.deep\.(\d+)\.mlp\.2\.(.*)", r"model.visual.deepstack_merger_list.\1.linear_fc2.\2"),
    Rule(r"towers\.0\.net\.(.*)", r"model.visual.\1"),
    Rule(r"language\.model\.(.*)", r"model.language_model.\1"),
    Rule(r"language\.(lm_head\..*)", r"\1"),
)
"""Our names to that layout."""

PROMPT_3 = Prompt(
    system="<|im_start|>system\n{text}<|im_end|>\n",
    user="<|im_start|>user\n{text}<|im_end|>\n",
    opening="<|im_start|>assistant\n",
    end="<|im_end|>\n",
)
"""The released chat templates of Qwen3-VL; marks around media are in `TIMES_3`."""

_START, _END = "<|vision_start|>", "<|vision_end|>"
_STILL = TimeText(intro=_START, outro=_END)
_PAIRS = TimeText(before="<{seconds:.1f} seconds>" + _START, after=_END)

TIMES_3 = {
    "image": _STILL,
    "images": _STILL,
    "video": _PAIRS.model_copy(update={"intro": _START, "outro": _END}),
}
"""What Qwen3-VL and Qwen3.5 read around pictures, as transformers writes it since 5.10: pairs of frames have
marks of their own, within those that the chat template puts around the whole video."""

TIMES_3_BEFORE = {**TIMES_3, "video": _PAIRS}
"""As it wrote it before, and as servers do that follow the release: without the outer marks."""


def agrees_3(blueprint: Blueprint) -> str:
    """Which versions of transformers, and which servers, write the ids around video that a model reads."""
    around = {scene: text for scene, text in blueprint.times.items() if text != TimeText()}
    if around == TIMES_3:
        return "transformers 5.10 and later: marks around each pair of frames, and around the whole video"
    if around == TIMES_3_BEFORE:
        return "transformers before 5.10, and servers like it: marks around each pair of frames alone"
    return "no version of transformers: the text around video is this model's own (see times)"


def agrees_2(blueprint: Blueprint) -> str:
    """Whose positions behind a video a model reads."""
    if blueprint.positions.get("compat") == "published":
        return "transformers 5: text goes on behind the larger of a video's height and width"
    return "the paper: text goes on behind the largest position of a video; transformers 5 may begin earlier"


def vision(config: Mapping[str, Any], where: Path, kinds: Mapping[str | None, str]) -> dict[str, Any]:
    """The vision tower's configuration; older files give it the whole model's type, or none.

    Args:
        config: The checkpoint's `config.json`.
        where: That file, for errors.
        kinds: The tower's `model_type` for each one that may be found.

    Raises:
        CheckpointError: If there is none, or it is of another type.
    """
    arch = config.get("vision_config")
    if not isinstance(arch, dict):
        raise CheckpointError(where, "has no `vision_config`", "fetch config.json again")
    kind = arch.get("model_type")
    if kind not in kinds:
        known = ", ".join(sorted(set(kinds.values())))
        raise CheckpointError(where, f"vision_config is of model_type {kind!r}", f"known: {known}")
    return {**_composed.cleaned(arch), "model_type": kinds[kind]}


def language(config: Mapping[str, Any], kind: str, flat: type[PretrainedConfig] | None = None) -> Spec:
    """The text model's configuration.

    Args:
        config: The checkpoint's `config.json`, with a `text_config`, or with its fields flat among the rest.
        kind: Its `model_type`.
        flat: Its class, where files hold it flat.

    Raises:
        ValueError: If there is none, or its positions do not share out what is rotated.
    """
    text = config.get("text_config")
    if not isinstance(text, dict):
        if flat is None:
            raise ValueError("there is no `text_config`")
        text = _composed.flat_language(config, flat)
    _check_sections(text)
    # What is said of the whole model holds; text models of mixtures say by default what is not so.
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    return {**_composed.cleaned(text), "model_type": kind, "tie_word_embeddings": tied}


def _check_sections(text: Mapping[str, Any]) -> None:
    """Refuse shares of time, rows and columns that are not those of all that is rotated.

    Where they are interleaved, transformers never asks, and takes time for what is left.
    """
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    sections = rope.get("mrope_section")
    if sections is None:
        return
    width = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    share = rope.get("partial_rotary_factor") or text.get("partial_rotary_factor") or 1.0
    rotated = int(width * share) // 2
    sound = isinstance(sections, list) and len(sections) == 3 and all(isinstance(n, int) for n in sections)
    if not sound or min(sections) < 0 or sum(sections) != rotated:
        raise ValueError(
            f"mrope_section {sections} does not share out {rotated} frequencies among three axes"
        )


def settings(folder: Path, kind: Kind) -> dict[str, Any]:
    """What the processor files say about stills or videos; empty if there are none.

    Raises:
        CheckpointError: If frames are prepared in a way the resolution does not offer.
    """
    where, fields = processor(folder, kind)
    if filter_of(fields, where) != "bicubic":
        raise CheckpointError(where, f"resample is {fields['resample']!r}", "known: 3 bicubic")
    if not isinstance(fields.get("size") or {}, dict):
        raise CheckpointError(
            where, f"size is {fields['size']!r}", "known: an object with shortest_edge and longest_edge"
        )
    if not all(fields.get("image_std") or (1,)):
        raise CheckpointError(where, f"image_std is {fields['image_std']}", "nothing can be divided by 0")
    return fields


def normalisation(fields: Mapping[str, Any]) -> Spec:
    """Mean and deviation for a tower, as far as a processor file says them."""
    return {name: tuple(fields[f"image_{name}"]) for name in ("mean", "std") if f"image_{name}" in fields}


def limits(fields: Mapping[str, Any], default: tuple[int, int]) -> Spec:
    """Least and most pixels, in the spellings of 2024 to 2026.

    Args:
        fields: Of a processor file.
        default: Both, where it does not say.
    """
    size = fields.get("size") or {}
    least = fields.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or default[0]
    most = fields.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or default[1]
    return {"min_pixels": int(least), "max_pixels": int(most)}


def blocks(arch: Mapping[str, Any], patch: int) -> tuple[int, Spec]:
    """What of the tower the resolution has to know.

    Args:
        arch: The tower's configuration.
        patch: Side of a patch in pixels, where it does not say.

    Returns:
        Cells per side that become one token, and fields of the resolution `native`.
    """
    merge = int(arch.get("spatial_merge_size", 2))
    factor = int(arch.get("patch_size", patch)) * merge
    slices = int(arch.get("temporal_patch_size", 2))
    return merge, {"kind": "native", "factor": factor, "frames_per_slice": slices}
