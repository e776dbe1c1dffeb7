"""LLaVA-Video: LLaVA-OneVision on 64 frames, a newline behind every row, and a sentence about the times.

Source: Zhang et al. 2024, "Video Instruction Tuning with Synthetic Data" (arXiv 2410.02713), and the authors'
code, which writes the sentence in training and in their evaluations (`add_time_instruction`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidapt.hub import _authors, llava_onevision
from vidapt.hub._prompts import CHATML, Habit
from vidapt.recipe import Blueprint
from vidapt.video.choose import Every, Policy, Uniform

FAMILY = "llava_video"

TOKENS = "footage: frames x 14 x 15 = 210 a frame, and a sentence; stills as in llava_onevision"
LICENCE = "Apache-2.0"

CLAIMS = ()
"""None that are not also LLaVA-OneVision's; see `narrows`."""

NARROWS = (("llava_qwen", "LlavaQwenForCausalLM"), ("llava", "LlavaQwenForCausalLM"))
"""Claims of another family that `narrows` takes over."""

RULES = llava_onevision.RULES

SENTENCE = (
    "The video lasts for {length:.2f} seconds, and {frames} frames are uniformly sampled from it. "
    "These frames are located at {moments}.Please answer the following questions related to this video."
)
"""As the authors write it, without a space behind the times."""

TIMES = {
    "image": {"outro": "\n"},
    "images": {"outro": "\n"},
    "video": {"outro": f"\n{SENTENCE}\n"},
}
"""What is written behind clips.

The line break is part of it, because the sentence's full stop and a line break are one token.
"""

PROMPT = CHATML.model_copy(update={"media": "{media}", "dropped": "\n"})
"""The authors' `qwen_1_5`, without the line break that `TIMES` writes."""

FRAMES = 64
"""Of the authors' evaluations."""

_SAYS = "add_time_instruction"


def narrows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of LLaVA-OneVision's kind says if videos are read with a sentence."""
    return _SAYS in config


def habit(config: Mapping[str, Any]) -> Habit:
    """As LLaVA-OneVision's, but for the line break where the sentence is written."""
    return Habit(template="last", own={"chatml": PROMPT} if config.get(_SAYS) else {})


def blueprint(config: Mapping[str, Any], folder: Path) -> Blueprint:
    """Describe the model of a checkpoint.

    Args:
        config: Its `config.json`.
        folder: Where the rest of it lies.

    Raises:
        CheckpointError: If it uses something vidapt has no part for.
    """
    usual = llava_onevision.blueprint({k: v for k, v in config.items() if k != _SAYS}, folder)
    times = TIMES if config.get(_SAYS) else {}
    return Blueprint.model_validate({**dict(usual), "times": times, "frames": _frames(config)})


beside, to_hub, to_authors = _authors.beside, llava_onevision.to_hub, llava_onevision.to_authors


def _frames(config: Mapping[str, Any]) -> Policy:
    """Evenly chosen frames; where the model was told otherwise, one a second while they are not too many."""
    if config.get("force_sample", True):
        return Uniform(count=FRAMES, at="endpoints", pad=False)
    return Every(rate=1.0, cap=FRAMES, at="endpoints")
