"""Qwen3.5, 3.6 and 3.8: Qwen3-VL's way of seeing in front of a language model with Gated DeltaNet layers.

Source: the released configurations of Qwen3.5 (Qwen team 2026); transformers' `Qwen3_5Model`, whose vision
side is that of Qwen3-VL without anything added deeper down. An answer begins behind an empty thought, as the
chat templates write it where thinking is switched off; it belongs to the question and carries no loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vidapt.errors import CheckpointError
from vidapt.hub import _experts, _qwen, qwen3_vl
from vidapt.hub._chat import EMPTY_THOUGHT
from vidapt.hub._experts import Made
from vidapt.hub._files import Stored
from vidapt.hub._keys import rewrite
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint

FAMILY = "qwen3_5"

TOKENS = qwen3_vl.TOKENS
LICENCE = "Apache-2.0"

CLAIMS = (
    ("qwen3_5", "Qwen3_5ForConditionalGeneration"),
    ("qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration"),
)
"""(model_type, architecture) of the configurations this family opens; 3.6 and 3.8 have the same."""

RULES = _qwen.RULES_3

_TOWER = "qwen3_5_vision"
_KINDS = dict.fromkeys((None, "qwen3_5", "qwen3_5_moe", _TOWER, "qwen3_5_moe_vision"), _TOWER)

PROMPT = _qwen.PROMPT_3.model_copy(update={"opening": _qwen.PROMPT_3.opening + EMPTY_THOUGHT})
"""The released chat templates with thinking switched off."""

agrees = _qwen.agrees_3
"""See there; `export` writes it down."""


def habit(config: Mapping[str, Any]) -> Habit:
    """The checkpoint's own template, without marks around media: these stand in the blueprint's `times`."""
    del config
    return Habit(own={"chatml": PROMPT}, bare=True)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    arch = _qwen.vision(config, folder / "config.json", _KINDS)
    levels = arch.pop("deepstack_visual_indexes", [])
    if levels:
        told = f"deepstack_visual_indexes is {levels!r}"
        raise CheckpointError(folder / "config.json", told, "Qwen3.5 adds nothing deeper down; known: []")
    kind = "qwen3_5_moe_text" if config.get("model_type") == "qwen3_5_moe" else "qwen3_5_text"
    return qwen3_vl.described(arch, (), qwen3_vl.text(config, kind, folder), folder)


def gathered(tensors: Mapping[str, Stored], config: Mapping[str, Any]) -> dict[str, Made]:
    """Experts of a mixture as whole tensors, however they are stored; see `_experts.gathered`."""
    return _experts.gathered(tensors, int((config.get("text_config") or {}).get("hidden_size", 0)))


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a model's tensors to the layout they were published in; see `_keys.rewrite`."""
    return rewrite(state, _qwen.TO_HUB_3, FAMILY)
