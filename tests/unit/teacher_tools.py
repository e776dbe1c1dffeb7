"""Teachers of several kinds, and recipes that learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from align_tools import dual, recipe, stage

from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.recipe import DualBlueprint, Recipe

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2}


DINO = {
    "kind": "dinov2",
    "arch": {
        "model_type": "dinov2",
        "hidden_size": 16,
        "mlp_ratio": 2,
        "image_size": 12,
        "patch_size": 4,
        **SMALL,
    },
}


def dual_teacher(folder: Path, **changes: Any) -> Path:
    """A CLIP-ViP of 3 x 3 patches, which is not its student's size; returns its folder."""
    given = dual(**changes)
    text = {
        **given["text"]["arch"],
        "vocab_size": 300,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    given["text"] = {"arch": text}
    torch.manual_seed(5)
    save_dual(folder, DualEncoder(DualBlueprint.model_validate(given)), None, {})
    return folder


def larger() -> dict[str, Any]:
    tower = dual()["tower"]
    return {**tower, "arch": {**tower["arch"], "image_size": 24}}


def distil(school: dict[str, Path], **changes: Any) -> dict[str, Any]:
    paths = {name: {"path": str(path)} for name, path in school.items()}
    return {"kind": "distill", "teachers": paths, "width": 12, "depth": 1, **changes}


def plan(labels: Path, *terms: dict[str, Any], **changes: Any) -> Recipe:
    return recipe(stage(labels, objective={"kind": "align", "terms": list(terms)}, **changes))
