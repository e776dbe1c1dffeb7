"""Tiny models, clips and recipes for the tests of training."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from vidapt.models.packed import Packed
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Features, Plan, Seen, View, Views
from vidapt.recipe import Blueprint, Prompt, Recipe
from vidapt.training.cache import TensorStore
from vidapt.training.run import train
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.video import write_mp4

SIDE, CELLS, WIDTH = 16, 4, 16
PROMPT = Prompt(opening="<answer>")
WORDS = "what is it? the red ball hits the blue one, and 3 others do not. it is green and 12"


def blueprint(**changes: Any) -> dict[str, Any]:
    """A model of 4 visual tokens per frame; `language` is merged into the language model's sizes."""
    language = {
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "initializer_range": 0.3,
        **changes.pop("language", {}),
    }
    arch = {
        "model_type": "clip_vision_model",
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": SIDE // CELLS,
        "projection_dim": 16,
    }
    return {
        "towers": [{"kind": "frame_vit", "arch": arch}],
        "connector": {"kind": "pool_mlp"},
        "resolution": {"kind": "framed", "pool": "average", "order": "pool_first"},
        "frames": {"policy": "uniform", "count": 3},
        "prompt": PROMPT.model_dump(),
        **changes,
        "language": language,
    }


def video_lm(dtype: torch.dtype = torch.float32, **changes: Any) -> VideoLM:
    """A random model in evaluation mode; adapters, if there are any, are not zero."""
    torch.manual_seed(0)
    model = VideoLM(Blueprint.model_validate(blueprint(**changes))).to(dtype).eval()
    for module in model.language.modules():
        if dtype == torch.float64 and type(module) is LlamaRMSNorm:
            module.__class__ = ExactNorm
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    return model


class ExactNorm(LlamaRMSNorm):
    """transformers normalises in float32 whatever the model is in, which would hide small differences."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon))


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and a few words; at most 300 entries."""
    return learn_tokenizer([WORDS], PROMPT, 300)


def clone_with_own_attention(model: VideoLM) -> VideoLM:
    """The same weights under transformers' own plain attention."""
    twin = copy.deepcopy(model)
    twin.language.set_attn_implementation("sdpa")
    return twin


@dataclass
class GivenBatch:
    """A batch made by hand."""

    features: Sequence[Features]
    packed: Packed
    views: Sequence[Views] = ()
    truth: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def seen(self) -> list[Seen]:
        """The features as of clips of one view each."""
        plans = [Plan(one.grid.t, (View((1, 1)),), (1, 1)) for one in self.features]
        return [Seen((one,), plan) for one, plan in zip(self.features, plans, strict=True)]


def random_features(frames: int, dtype: torch.dtype, seed: int) -> Features:
    """What the tower could have seen of one clip."""
    generator = torch.Generator().manual_seed(seed)
    return Features(torch.randn(1, frames, CELLS, CELLS, WIDTH, generator=generator).to(dtype))


def write_clips(folder: Path, clips: int = 4, questions: int = 3) -> Path:
    """Noisy clips and their questions; returns the label file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for clip in range(clips):
        write_mp4(folder / f"{clip}.mp4", rng.integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), 6)
        rows += [
            {"video": f"{clip}.mp4", "question": f"what is {number}?", "answer": f"it is {clip + number}."}
            for number in range(questions)
        ]
    labels = folder / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return labels


def stage(labels: Path, name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "data": [{"path": str(labels)}],
        "batching": {"clips": 2},
        "optimizer": {"rates": {"towers": 1e-2, "connector": 1e-2, "language": 1e-2}},
        "steps": 5,
        "save_every": 2,
        **changes,
    }


def recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    given = {"name": "run", "vocabulary": 300, "blueprint": blueprint(), "stages": list(stages), **changes}
    return Recipe.model_validate(given)


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """Report nothing."""


def trained(plan: Recipe, runs: Path, **options: Any) -> dict[str, Tensor]:
    """Train and return the weights of the last stage."""
    run = train(plan, runs, options.pop("report", silent), workers=0, **options)
    return weights(run)


def weights(run: Path) -> dict[str, Tensor]:
    """Weights of a run's last stage."""
    return load_file(sorted(run.glob("*-*/model/model.safetensors"))[-1])


def assert_equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """Bit for bit."""
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert different == []


def filled(folder: Path, keys: str) -> TensorStore:
    """A store on disk with one small tensor and one note per key, a letter each."""
    store = TensorStore(folder)
    for key in keys:
        store.put(key, {"x": torch.full((3,), float(ord(key)))}, note=[key])
    store.flush()
    return store
