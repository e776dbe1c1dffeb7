"""HiLight: CLIP-ViP and Long-CLIP look at a clip, token mining joins them, Gemma-2B answers.

Source: motern88/HiLight (2024), its report and released code. The checkpoint holds Gemma and the mining
module; its `config.json` names the files of the two towers by `mm_vision_tower` and `mm_vision_tower_aux`,
which are paths on the authors' machines. Only their last component counts here: the published file of that
name, or a folder of that name with one such file in it, must lie beside `config.json`.

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
from vidapt.hub import _composed, _dual, clip_vip, long_clip
from vidapt.hub._files import Beside, stored
from vidapt.hub._keys import Rule, rename
from vidapt.hub._pickled import read_pickled
from vidapt.recipe import Blueprint, Prompt, Spec
from vidapt.video.choose import Uniform

FAMILY = "hilight"

CLAIMS = (("hilight_gemma", "HiLightGemmaForCausalLM"),)
"""(model_type, architecture) of the configurations this family opens."""

CARRIED: tuple[str, ...] = ()

GEMMA = Prompt(
    start="<bos>",
    user="<start_of_turn>user\n{text}<end_of_turn>\n",
    opening="<start_of_turn>model\n",
    end="<end_of_turn>\n<eos>",
    media="{media}\n",
)

_MAIN, _AUX = "mm_vision_tower", "mm_vision_tower_aux"
"""Fields of the configuration; with a colon behind them they stand in front of the towers' own names."""

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

RULES = (
    *_composed.RECOMPUTED,
    *clip_vip.vision_rules(f"{_MAIN}:", "towers.0"),
    *long_clip.vision_rules(f"{_AUX}:", "towers.1"),
    Rule(
        rf"{_MAIN}:(?:module\.)?(?:clipmodel\.)?(?:text_model|text_projection|visual_projection)\..*",
        None,
        _UNUSED,
    ),
    Rule(rf"{_MAIN}:(?:module\.)?(?:clipmodel\.)?logit_scale", None, _UNUSED),
    Rule(rf"{_AUX}:(?:module\.)?(?:transformer|token_embedding|ln_final|text_projection)\..*", None, _UNUSED),
    Rule(
        rf"{_AUX}:(?:module\.)?(?:positional_embedding(?:_res)?|logit_scale)"
        rf"|{_AUX}:(?:module\.)?(?:input_resolution|context_length|vocab_size)",
        None,
        _UNUSED,
    ),
    *(Rule(rf"model\.token_mining\.{theirs}\.(.*)", rf"connector.{ours}.\1") for theirs, ours in _LAYERS),
    Rule(r"(model\.(?:embed_tokens|layers|norm)\..*|lm_head\..*)", r"language.\1"),
)

TO_HUB = (
    Rule(r"towers\..*", None, "stays in a file of its own"),
    *(Rule(rf"connector\.{ours}\.(.*)", rf"{_MINING}{theirs}.\1") for theirs, ours in _LAYERS),
    Rule(r"language\.((?:model|lm_head)\.(?!.*\.(?:lora_[AB]|base_layer)\.).*)", r"\1"),
)
"""Our names to the authors'. Adapters have no place in that layout and must be merged before."""


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint; the towers' sizes are read from their files.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If a tower's file is missing, damaged, or of another model.
    """
    read = beside(config, folder)
    ours = {new: read[old].tensor for old, new in rename(read, RULES, folder, FAMILY).names.items()}
    arch = _dual.Shapes(ours, folder).vision("towers.0.net")
    return Blueprint(
        towers=(
            clip_vip.vision_tower(ours, "towers.0", arch, folder),
            long_clip.vision_tower(ours, "towers.1", folder, output="feature"),
        ),
        connector={"kind": "token_mining", **_mining(folder)},
        language=_language(config),
        resolution={"kind": "both"},
        frames=Uniform(count=12, at="endpoints"),
        prompt=GEMMA,
    )


def beside(config: Mapping[str, Any], folder: Path) -> dict[str, Beside]:
    """Read the towers' files.

    Args:
        config: The checkpoint's `config.json`.
        folder: Where they lie.

    Returns:
        Their tensors, by their own names behind `mm_vision_tower:` and `mm_vision_tower_aux:`.

    Raises:
        CheckpointError: If a file is missing, damaged, or would run code.
    """
    found: dict[str, Beside] = {}
    for field in (_MAIN, _AUX):
        file = _locate(config, field, folder)
        tensors = read_pickled(file)
        if field == _AUX:
            tensors = long_clip.apart(tensors, file)
        name = str(file.relative_to(folder))
        found |= {f"{field}:{key}": Beside(name, tensor) for key, tensor in tensors.items()}
    return found


def rules(blueprint: Blueprint) -> tuple[Rule, ...]:
    """Key table from the checkpoint's names to ours."""
    del blueprint  # the names are the same for every size
    return RULES


def to_hub(state: Mapping[str, Tensor], carried: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Rename a model's tensors to the authors' layout, which leaves the towers in their own files.

    Args:
        state: `state_dict()` of a VideoLM of this family, adapters merged.
        carried: Tensors of the original checkpoint that vidapt has no use for; this family has none.

    Raises:
        CheckpointError: If a tensor has no place in that layout.
    """
    del carried
    names = rename(state, TO_HUB, "state_dict", FAMILY).names
    return {new: state[key] for key, new in names.items()}


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


def _mining(folder: Path) -> Spec:
    """Variant of the mining module, by what the files hold of it."""
    held = {
        key.removeprefix(_MINING): it.shape for key, it in stored(folder).items() if key.startswith(_MINING)
    }
    widen = held.get("LongCLIP_projector.0.weight")
    if widen:
        return {"variant": "released", "rows": widen[0]}
    return {"variant": "v2" if "tokenizer_projector.3.weight" in held else "v1"}


def _language(config: Mapping[str, Any]) -> Spec:
    fields = GemmaConfig().to_dict()
    language = {key: value for key, value in config.items() if key in fields or key == "rope_theta"}
    if language.get("hidden_act") == "gelu":
        # transformers 5 takes this name for the tanh approximation; 4.38 computed what it says.
        language["hidden_act"] = "gelu_python"
    return {**_composed.cleaned(language), "model_type": "gemma"}
