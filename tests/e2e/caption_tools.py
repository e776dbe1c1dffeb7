"""A tiny random model whose captions differ from clip to clip, clips to caption, and what to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidapt.models.folder import save_model
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, Prompt
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.video import write_mp4

CLIPS = 10
TOKENS = 12
MADE = ("seconds", "created", "folder", "file", "stamp", "mean_logprob", "logprobs")
"""Columns that tell when and where a row was made, or whose last digits depend on the batch."""


def save_tiny_model(folder: Path, seed: int = 0) -> Path:
    prompt = Prompt(start="<s>", opening="<answer>")
    tokenizer = learn_tokenizer(["describe the video."], prompt, 300)
    language = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.4,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    tower = {
        "kind": "conv_vip",
        "size": (16, 24),
        "frames": 3,
        "width": 16,
        "stem": 8,
        "heads": 2,
        "proxies": 2,
    }
    torch.manual_seed(seed)
    blueprint = Blueprint(
        towers=(tower,),
        connector={
            "kind": "track",
            "slots": 3,
            "scene": 2,
            "frames": 3,
            "hidden": 16,
            "layers": 1,
            "heads": 2,
        },
        resolution={"kind": "whole", "fit": "squash", "filter": "area", "in_decoder": True},
        frames={"policy": "uniform", "count": 3},
        language=language,
        prompt=prompt,
    )
    save_model(folder, VideoLM(blueprint), tokenizer, {"recipe": "tiny", "recipe_hash": "0123456789abcdef"})
    return folder


def film(path: Path, seed: int) -> Path:
    """A clip of six frames, unlike that of any other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 4, 6, 3), dtype=np.uint8)
    write_mp4(path, noise.repeat(8, axis=1).repeat(8, axis=2), 3)
    return path


def film_all(folder: Path) -> Path:
    """`CLIPS` clips, some in a folder inside."""
    for number in range(CLIPS):
        film(folder / ("day 2" if number % 3 else "") / f"{number}.mp4", number)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def said(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON lines file without the columns that differ from run to run."""
    return [{name: value for name, value in row.items() if name not in MADE} for row in lines(path)]


def noted(out: Path) -> list[str]:
    """Lines of the journals of a file's jobs."""
    journals = out.with_name(f".{out.name}.vidapt").glob("jobs/*/shards/*.jsonl")
    return [line for path in journals for line in path.read_text(encoding="utf-8").splitlines()]


def quarantine(out: Path) -> Path:
    return out.with_name(out.name + ".quarantine.jsonl")
