"""MiniCPM-V 4.5: version 2.6 with Qwen3, and a resampler that reads several frames together with their times.

Source: Yu et al. 2025, "MiniCPM-V 4.5" (arXiv 2509.18154), and the authors' files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Qwen3Config

from vidapt.hub import _composed, minicpm_v
from vidapt.hub._prompts import Habit
from vidapt.recipe import Blueprint, Prompt
from vidapt.video.choose import Every

FAMILY = "minicpm_v_4_5"

TOKENS = "64 x (1 + slices) a still, at most 640; footage 64 for every three frames"
LICENCE = "Apache-2.0 (code); MiniCPM model licence: free for research, and for commerce after registering"

CLAIMS = ()
"""None that are not also version 2.6's; see `narrows`."""

NARROWS = minicpm_v.CLAIMS
"""Claims of another family that `narrows` takes over."""

VERSION = 4.5

RULES, to_hub = minicpm_v.RULES, minicpm_v.to_hub

PROMPT = Prompt(
    system="<|im_start|>system\n{text}<|im_end|>\n",
    user="<|im_start|>user\n{text}<|im_end|>\n",
    opening="<|im_start|>assistant\n<think>\n\n</think>\n\n",
    end="<|im_end|>\n",
    media="{media}\n",
)
"""Qwen3's way of writing with an empty thought, which is the authors' default; an image has its own line."""

_RATE, _FRAMES, _JOIN = 3.0, 180, 3
"""Frames a second, groups of frames of a clip, and frames of a group, as the authors pack long clips."""

_ONE_SLICE = {"max_slices": 1, "many": 1, "max_slices_of_many": 1}
"""What the authors advise for video."""


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, of the same type as version 2.6's, is of this version."""
    return config.get("version") == VERSION


def habit(config: Mapping[str, Any]) -> Habit:
    """Every checkpoint is of one language model, whose template knows no images."""
    del config
    return Habit(template="never", only=PROMPT)


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Footage is read as the authors read long clips: three frames a second, three of them together. They join
    fewer frames of shorter clips; a recipe that wants so sets `connector.join` and its `seconds`.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    usual = minicpm_v.described(
        config,
        folder,
        _composed.flat_language(config, Qwen3Config),
        _ONE_SLICE,
        Every(rate=_RATE, cap=_FRAMES * _JOIN, at="midpoints"),
    )
    connector = {**usual.connector, "join": _JOIN, "seconds": 1 / _RATE}
    return usual.model_copy(update={"connector": connector})
