"""MiniCPM-V 4.7: version 4.6 whose positions lie on a canvas, each slice where it was cut from.

Source: transformers' port (`minicpmv4_7`) of the released model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidapt.errors import CheckpointError
from vidapt.hub import minicpm_v_4_6
from vidapt.recipe import Blueprint

FAMILY = "minicpm_v_4_7"

TOKENS, LICENCE = minicpm_v_4_6.TOKENS, minicpm_v_4_6.LICENCE

CLAIMS = (("minicpmv4_7", "MiniCPMV4_7ForConditionalGeneration"),)
"""(model_type, architecture) of the configurations this family opens."""

RULES, to_hub, habit = minicpm_v_4_6.RULES, minicpm_v_4_6.to_hub, minicpm_v_4_6.habit


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`, which names the ids of the marks.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for, or leaves an id out.
    """
    usual = minicpm_v_4_6.blueprint(config, folder)
    names = [f"{kind}_{end}_id" for kind in ("image", "slice") for end in ("start", "end")]
    absent = [name for name in (*names, "newline_id") if not isinstance(config.get(name), int)]
    if absent:
        raise CheckpointError(
            folder / "config.json",
            f"has no {', '.join(absent)}",
            "positions need the marks' ids; fetch it again",
        )
    image, cell = (config[names[0]], config[names[1]]), (config[names[2]], config[names[3]])
    positions = {"kind": "canvas", "image": image, "cell": cell, "newline": config["newline_id"]}
    return usual.model_copy(update={"positions": positions})
