"""HiLight: CLIP-ViP and Long-CLIP look at a clip, token mining joins them, Gemma-2B answers.

Source: motern88/HiLight (2024), its report and released code. The checkpoint holds Gemma and the mining
module; its `config.json` names the files of the two towers by `mm_vision_tower` and `mm_vision_tower_aux`,
which are paths on the authors' machines. Only their last component counts here: the published file of that
name, or a folder of that name with one such file in it, must lie beside `config.json`. A model that vidapt
writes holds its towers itself. Towers whose heads are not of 64 numbers need `mm_vision_tower_heads` and
`mm_vision_tower_aux_heads` in `config.json`, which the authors' towers do not.

Trained under transformers 4.38, where Gemma's `gelu` was the exact one, and where visual tokens were
multiplied by the square root of the width together with the words; both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GemmaConfig

from vidapt.errors import CheckpointError
from vidapt.hub import _composed, _dual, _prompts, clip_vip, long_clip
from vidapt.hub._files import Beside, stored
from vidapt.hub._keys import Rule, Shape, rename, rewrite
from vidapt.hub._pickled import read_pickled
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Spec
from vidapt.video.choose import Uniform

FAMILY = "hilight"

TOKENS = "32 tokens for each of 12 frames = 384"
LICENCE = "none stated by the authors; Gemma's terms of use for the language model"

CLAIMS = (("hilight_gemma", "HiLightGemmaForCausalLM"),)
"""(model_type, architecture) of the configurations this family opens."""

GEMMA = _prompts.GEMMA.model_copy(update={"end": "<end_of_turn>\n<eos>", "compat": "published"})
"""Its code moves a clip's mark to the front of its turn, wherever it stands (`preprocess_multimodal`)."""

_MAIN, _AUX = "mm_vision_tower", "mm_vision_tower_aux"
"""Fields of the configuration that name the towers' files."""

_OWN = {_MAIN: "model.vision_tower.", _AUX: "model.vision_tower_aux."}
"""What stands in front of the names of a tower that is kept with the model, as it is when one is written."""

_MINING = "model.token_mining."
_LAYERS = (
    ("query_projector", "query"),
    ("key_projector", "key"),
    ("val_projector", "value"),
    ("CLIP_VIP_projector", "source"),
    ("LongCLIP_projector", "widen"),
    ("tokenizer_projector", "out"),
)

_UNUSED = "HiLight uses the vision tower only"


def _unused(field: str, names: str) -> Rule:
    return Rule(rf"{field}:(?:module\.)?(?:clipmodel\.)?(?:{names})", None, _UNUSED)


RULES = (
    *_composed.RECOMPUTED,
    *clip_vip.vision_rules(rf"(?:{_MAIN}:|model\.vision_tower\.)", "towers.0"),
    *long_clip.vision_rules(rf"(?:{_AUX}:|model\.vision_tower_aux\.)", "towers.1"),
    _unused(_MAIN, r"text_model\..*|(?:text|visual)_projection\.weight|logit_scale"),
    _unused(_AUX, r"(?:transformer|token_embedding|ln_final|text_projection)\..*"),
    _unused(_AUX, r"positional_embedding(?:_res)?|logit_scale"),
    _unused(_AUX, r"input_resolution|context_length|vocab_size"),
    *(Rule(rf"model\.token_mining\.{theirs}\.(.*)", rf"connector.{ours}.\1") for theirs, ours in _LAYERS),
    Rule(r"(model\.(?:embed_tokens|layers|norm)\..*|lm_head\..*)", r"language.\1"),
)

TO_HUB = (
    *clip_vip.vision_to_hub(_OWN[_MAIN], "towers.0"),
    *long_clip.vision_to_hub(_OWN[_AUX], "towers.1"),
    *(Rule(rf"connector\.{ours}\.(.*)", rf"{_MINING}{theirs}.\1") for theirs, ours in _LAYERS),
    Rule(r"language\.((?:model|lm_head)\..*)", r"\1"),
)
"""Our names to the authors'."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The authors trained every model with Gemma's way of writing."""
    del config
    return Habit(only=GEMMA)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint; the towers' sizes are read from their files.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If a tower's file is missing, damaged, or of another model.
    """
    held = {key: it.shape for key, it in stored(folder).items()}
    held |= {key: tuple(it.tensor.shape) for key, it in beside(config, folder).items()}
    ours = {new: held[old] for old, new in rename(held, RULES, folder, FAMILY).names.items()}
    arch = _dual.Shapes(ours, folder).vision("towers.0.net", heads=_heads(config, _MAIN, folder))
    return Blueprint(
        towers=(
            clip_vip.vision_tower(ours, "towers.0", arch, folder),
            long_clip.vision_tower(
                ours, "towers.1", folder, output="feature", heads=_heads(config, _AUX, folder)
            ),
        ),
        connector={"kind": "token_mining", **_mining(ours)},
        language=_language(config),
        resolution={"kind": "both"},
        frames=Uniform(count=12, at="endpoints"),
    )


def beside(config: Mapping[str, Any], folder: Path) -> dict[str, Beside]:
    """Read the files of those towers that are not kept with the model.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where they lie.

    Returns:
        Their tensors, by their own names behind `mm_vision_tower:` and `mm_vision_tower_aux:`.

    Raises:
        CheckpointError: If a file is missing, damaged, or would run code.
    """
    held = stored(folder)
    found: dict[str, Beside] = {}
    for field, own in _OWN.items():
        if any(key.startswith(own) for key in held):
            continue
        file = _locate(config, field, folder)
        tensors = read_pickled(file)
        if field == _AUX:
            tensors = long_clip.apart(tensors, file)
        name = str(file.relative_to(folder))
        found |= {f"{field}:{key}": Beside(name, tensor) for key, tensor in tensors.items()}
    return found


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, TO_HUB, FAMILY)


def _locate(config: Mapping[str, Any], field: str, folder: Path) -> Path:
    """The file of a tower. A configuration is untrusted input: only names within the folder count."""
    named = config.get(field)
    name = Path(named).name if isinstance(named, str) else ""
    if not name:
        raise CheckpointError(
            folder / "config.json", f"`{field}` is {named!r}", "it names the file of a vision tower"
        )
    place = folder / name
    files = _dual.pickled_files(place) if place.is_dir() else [place]
    if len(files) != 1 or not files[0].is_file():
        raise CheckpointError(
            place,
            f"the vision tower that `{field}` names is not there",
            f"put the published file beside config.json, as {name!r} or alone in a folder of that name",
        )
    return files[0]


def _heads(config: Mapping[str, Any], field: str, folder: Path) -> int | None:
    """How many heads a tower has, which its file does not tell; None where they are of 64 numbers."""
    name = f"{field}_heads"
    heads = config.get(name)
    if heads is not None and type(heads) is not int:
        raise CheckpointError(folder / "config.json", f"`{name}` is {heads!r}", "write a whole number")
    return heads


def _mining(ours: Mapping[str, Shape]) -> Spec:
    """Variant of the mining module, by which layers there are."""
    widen = ours.get("connector.widen.0.weight")
    if widen:
        return {"variant": "released", "rows": widen[0]}
    return {"variant": "v2" if "connector.out.3.weight" in ours else "v1"}


def _language(config: Mapping[str, Any]) -> Spec:
    language = _composed.flat_language(config, GemmaConfig)
    if language.get("hidden_act") == "gelu":
        # transformers 5 takes this name for the tanh approximation; 4.38 computed what it says.
        language["hidden_act"] = "gelu_python"
    return language
