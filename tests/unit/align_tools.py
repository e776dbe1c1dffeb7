"""Tiny dual encoders, clips with captions and recipes for the tests of alignment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from training_tools import silent

from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Recipe
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.run import train
from vidapt.video import write_mp4

__all__ = ["clip_of", "dual", "recipe", "sample", "silent", "stage", "train", "write_captioned"]

COLOURS = ("red", "blue", "green", "white", "black", "pink")
TERMS = [{"kind": "contrastive"}, {"kind": "local_align", "weight": 0.5, "sparsify": "top_k", "k": 3}]


def dual(**changes: Any) -> dict[str, Any]:
    """A CLIP-ViP of 2 x 2 patches and a text tower of 20 positions, as data."""
    small = {"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "image_size": 16,
        "patch_size": 8,
        **small,
    }
    text = {"model_type": "clip_text_model", "hidden_size": 12, "max_position_embeddings": 20, **small}
    tower = {"kind": "clip_vip", "arch": vision, "added": 2, "frames": 3}
    frames = {"policy": "uniform", "count": 3}
    return {"tower": tower, "text": {"arch": text}, "width": 8, "frames": frames, **changes}


def write_captioned(folder: Path, clips: int = 6, captions: int = 2) -> Path:
    """Noisy clips, each of its own colour and with captions of its own; returns the label file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for clip in range(clips):
        frames = rng.integers(0, 60, (6, 24, 32, 3), dtype=np.uint8)
        frames[..., clip % 3] += 40 * (1 + clip // 3)
        write_mp4(folder / f"{clip}.mp4", frames, 6)
        rows += [
            {
                "video": f"{clip}.mp4",
                "caption": f"{COLOURS[clip % 6]} {number}",
                "facts": {"place": clip // 2},
            }
            for number in range(captions)
        ]
    labels = folder / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return labels


def stage(labels: Path, name: str = "a", **changes: Any) -> dict[str, Any]:
    rates = {"towers": 1e-2, "text": 1e-2, "projections": 1e-2, "objective": 1e-2}
    return {
        "name": name,
        "data": [{"path": str(labels)}],
        "objective": {"kind": "align", "terms": TERMS},
        "train": {"towers": "full"},
        "batching": {"clips": 3},
        "optimizer": {"rates": rates},
        "steps": 5,
        "save_every": 2,
        **changes,
    }


def recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    given = {"name": "run", "vocabulary": 270, "dual": dual(), "stages": list(stages), **changes}
    return Recipe.model_validate(given)


def sample(name: str, *turns: str, video: str | None = None, **facts: Any) -> Sample:
    """A conversation of questions and answers about one clip."""
    said = tuple(Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(turns))
    media = (Clip(video or name, Path(video or name)),)
    return Sample(name, media, said, facts=facts, source=f"labels:{name}")


def clip_of(number: int, texts: Sequence[str], fact: str = "") -> ClipCaptions:
    """A clip with texts of one token each."""
    ids = tuple((1, 2 + index, 99) for index in range(len(texts)))
    media = (Clip(str(number), Path(str(number))),)
    return ClipCaptions(media, tuple(texts), (None,) * len(texts), ids, ((),) * len(texts), fact)
