"""The models people adapt today: a folder of each by its original, and how far ours is from the original."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import internvl_tools
import llava_video_tools
import minicpm_tools
import minicpm_v_reference
import modern_tools as modern
import parity_tools as tools
import qwen_tools as qwen
import smolvlm_tools
import test_minicpm_v
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from vidapt.hub import open_checkpoint
from vidapt.hub._internvl import PROMPTS
from vidapt.loading import open_model

FILM, STILL = tools.film(5, 40, 64, seed=4), tools.film(1, 56, 70)


@dataclass(frozen=True)
class Today:
    """One of them.

    Attributes:
        make: Writes a folder as it is published.
        family: What it is opened as.
        apart: How far our logits about a film and a still are from those of the original that reads the
            same folder: transformers' class, or the equations where it has none.
    """

    make: Callable[[Path], object]
    family: str
    apart: Callable[[Path], float]


def reopened(folder: Path) -> Any:
    """The folder in transformers, which has to find every tensor and no other."""
    oracle, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return oracle.eval()


def names(folder: Path) -> set[str]:
    """Of a folder's tensors; experts that are stored apart count as the tensor that they are released in."""
    kinds = {"gate": "gate_up", "up": "gate_up", "down": "down"}
    return {
        re.sub(r"(experts)\.\d+\.(gate|up|down)_proj\.weight", lambda m: f"{m[1]}.{kinds[m[2]]}_proj", key)
        for key in load_file(folder / "model.safetensors")
    }


def logits(folder: Path) -> Tensor:
    """[words, vocabulary] of our model of a folder, published or of a run, at a question about a film."""
    model, tokenizer = open_model(folder)
    (found,) = modern.our_logits(model, [modern.ours(model, tokenizer, [FILM], 0)])
    return found


def _qwen(family: str, folder: Path) -> float:
    oracle, rows = reopened(folder), [[qwen.CLIP], [qwen.STILL]]
    model, _, _ = open_checkpoint(folder)
    return float((qwen.ours(model, rows) - qwen.expected(family, oracle, model, rows)).abs().max())


def _modern(
    tools_of: Any,
    original: Callable[[Path], Any],
    folder: Path,
    read: Callable[..., modern.Theirs] | None = None,
) -> float:
    model, tokenizer, _ = open_checkpoint(folder)
    oracle, slot = original(folder), tools_of.slot_of(tokenizer)
    read = read or tools_of.read
    return modern.difference(oracle, model, tokenizer, [[FILM], [STILL]], read, slot)


def _internvl_of_authors(folder: Path) -> float:
    """Their template begins with words of a system, which the hub's does not."""
    read = partial(internvl_tools.read, before=PROMPTS["internvl2_5"].start + "\n")
    return _modern(internvl_tools, internvl_tools.of_authors, folder, read)


def _llava_video(folder: Path) -> float:
    oracle = llava_video_tools.of_authors(folder)
    return _modern(llava_video_tools, lambda _: oracle, folder, partial(llava_video_tools.read, oracle))


def _equations(folder: Path) -> float:
    """Of MiniCPM-V 4.5; behind the answer's end ours has a line break, too."""
    reference, rows = minicpm_v_reference.Reference(folder), [[FILM], [STILL]]
    found = test_minicpm_v.our_logits(open_checkpoint(folder)[:2], rows)
    asked = (test_minicpm_v.QUESTION, test_minicpm_v.ANSWER)
    with torch.no_grad():
        theirs = [reference.logits(clips, *asked) for clips in rows]
    return max(float((f[:-1] - t).abs().max()) for f, t in zip(found, theirs, strict=True))


def _of_qwen(family: str, make: Callable[[str], Any]) -> Today:
    return Today(lambda folder: qwen.save(family, make(family), folder), family, partial(_qwen, family))


def _of(family: str, tools_of: Any, *kind: Any) -> Today:
    def make(folder: Path) -> None:
        tools_of.save(tools_of.oracle_of(*kind), folder)

    return Today(make, family, partial(_modern, tools_of, reopened))


ROWS = {
    "qwen3_vl": _of_qwen("qwen3_vl", qwen.oracle_of),
    "qwen3_vl, mixture": _of_qwen("qwen3_vl", qwen.mixture_of),
    "qwen3_5": _of_qwen("qwen3_5", qwen.oracle_of),
    "qwen3_5, mixture": _of_qwen("qwen3_5", qwen.mixture_of),
    "qwen2_5_vl": _of_qwen("qwen2_5_vl", qwen.oracle_of),
    "internvl": _of("internvl", internvl_tools),
    "internvl, Qwen3": _of("internvl", internvl_tools, "qwen3"),
    "internvl, authors": Today(
        lambda folder: internvl_tools.save_authors(internvl_tools.oracle_of(), folder),
        "internvl",
        _internvl_of_authors,
    ),
    "minicpm_v_4_5": Today(
        lambda folder: minicpm_v_reference.write(folder, 4.5), "minicpm_v_4_5", _equations
    ),
    "minicpm_v_4_6": _of("minicpm_v_4_6", minicpm_tools),
    "minicpm_v_4_7": _of("minicpm_v_4_7", minicpm_tools, 4.7),
    "smolvlm": _of("smolvlm", smolvlm_tools),
    "llava_video": Today(
        lambda folder: llava_video_tools.save(llava_video_tools.oracle_of(), folder),
        "llava_video",
        _llava_video,
    ),
}
"""By name, as `test_export_contract.py` calls its folders."""
