"""Clips a second on a CUDA GPU, from mp4 to rows: random weights of published shapes, in bfloat16.

    python benchmarks/gpu_caption.py [--device cuda] [--shape pllava-13b] [--clips 256] [--out FILE]

PLLaVA's frames, tower and pooling (16 frames, 2,304 visual tokens) before Vicuna's 13B or 7B, or a 7B with
four heads of keys (Qwen2.5's shape). Every answer has 128 tokens. Clips of ten seconds at 360p are decoded by
all cores but two. The last line is JSON. `--shape tiny --device cpu` tries the script on a processor.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from _machine import describe
from _packing_work import film
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.inference.engine import Engine
from vidapt.inference.limit import Limit
from vidapt.models.decoding import Decoding
from vidapt.models.video_lm import VideoLM
from vidapt.progress import progress
from vidapt.recipe import Blueprint, Prompt
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.video import write_mp4

LONGEST, SECONDS, RATE, KINDS = 128, 10, 25, 8
PROMPT = Prompt(start="<s>", user="USER: {text}", opening=" ASSISTANT:", media="{media}\n")


def language(
    kind: str, words: int, width: int, inner: int, layers: int, heads: int, kept: int
) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kept,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }


def tower(width: int, layers: int, side: int) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "image_size": side,
        "patch_size": 14,
        "projection_dim": width,
    }


SHAPES = {
    "pllava-13b": (tower(1024, 24, 336), language("llama", 32064, 5120, 13824, 40, 40, 40), 12),
    "pllava-7b": (tower(1024, 24, 336), language("llama", 32064, 4096, 11008, 32, 32, 32), 12),
    "gqa-7b": (tower(1024, 24, 336), language("qwen2", 152064, 3584, 18944, 28, 28, 4), 12),
    "tiny": (tower(64, 2, 84), language("llama", 512, 64, 128, 2, 4, 2), 3),
}
"""Tower, language model, and the side of the pooled cells."""


def make_model(shape: str, device: str, dtype: torch.dtype) -> tuple[VideoLM, Any]:
    """Random weights, made where they lie and in their own format: 13B in float32 are 52 GB."""
    seen, written, side = SHAPES[shape]
    tokenizer = learn_tokenizer(["describe the video."], PROMPT, 300)
    connector = {"kind": "pool_mlp", "pool": "adaptive3d", "shape": (16, side, side), "order": "mlp_first"}
    blueprint = Blueprint(
        towers=({"kind": "frame_vit", "arch": seen},),
        connector=connector,
        language=written,
        resolution={"kind": "whole", "fit": "crop"},
        frames={"policy": "uniform", "count": 16},
        prompt=PROMPT,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = VideoLM(blueprint)
    finally:
        torch.set_default_dtype(before)
    return model.to(device, dtype).eval(), tokenizer


def make_clips(folder: Path, count: int) -> Path:
    """Files of a few kinds, each under many names, with other bytes in each so that none is known already."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for kind in range(KINDS):
        write_mp4(folder / f"{kind}.mp4", film(rng, SECONDS * RATE), RATE)
    for number in range(KINDS, count):
        film_bytes = (folder / f"{number % KINDS}.mp4").read_bytes()
        free = number.to_bytes(8, "big")
        (folder / f"{number}.mp4").write_bytes(film_bytes + (16).to_bytes(4, "big") + b"free" + free)
    return folder


def benchmark(folder: Path, shape: str, clips: int, device: str, batch: int | None) -> dict[str, Any]:
    dtype = torch.bfloat16 if device != "cpu" else torch.float32
    model, tokenizer = make_model(shape, device, dtype)
    engine = Engine(model, tokenizer, shape)
    engine.stops = ()
    source = make_clips(folder / "clips", clips + KINDS)
    options: dict[str, Any] = {
        "decoding": Decoding(max_new_tokens=LONGEST),
        "workers": max(1, (os.cpu_count() or 1) - 2),
        "batch": batch,
    }
    caption_store(
        Builtin(engine), [source / f"{kind}.mp4" for kind in range(KINDS)], folder / "warm", **options
    )
    others = [source / f"{number}.mp4" for number in range(KINDS, clips + KINDS)]
    with progress() as report:
        done = caption_store(Builtin(engine), others, folder / "captions", report=report, **options)
    limit = Limit.of(engine)
    return {
        "shape": shape,
        "clips": done.captioned,
        "clips_per_s": done.clips_per_s,
        "waited_for_frames": done.waited,
        "limit_clips_per_s": done.limit,
        "measured_tflops": limit.speed.products / 1e12,
        "measured_tb_per_s": limit.speed.bytes / 1e12,
        "visual_tokens": engine.clip_tokens,
        "new_tokens": LONGEST,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device != "cpu" else None,
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...")
    parser.add_argument("--shape", choices=SHAPES, default="pllava-13b")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--batch", type=int, help="clips answered at a time; else as memory allows")
    parser.add_argument("--out", type=Path, help="write the result here")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.exit(2, "gpu_caption.py: this machine has no CUDA GPU, so there is nothing to measure\n")
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        result = benchmark(Path(folder), options.shape, options.clips, options.device, options.batch)
    result["machine"] = describe("vidapt", "torch", "transformers", "av", "numpy")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
