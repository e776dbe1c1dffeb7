"""Opening a checkpoint: time against reading its files, and peak memory against its size.

    python benchmarks/loading.py [--gb 3]
    python benchmarks/loading.py --model qwen3_vl_4b

A synthetic LLaVA-1.5 of three gigabytes, or a Qwen3-VL of the shape of its 4B with almost nine, in bfloat16,
is written in the hub's layout, in shards; the smaller one as a vidapt model's folder, too.
Each arm runs in a process of its own, files in the page cache, alternating; the best of three counts. Opening
a published checkpoint maps the files, so every page of the weights is then touched once, and that counts as
well. Prints one JSON line at the end and writes benchmarks/results/loading.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "loading.json"
ROUNDS = 3
PAGE = 4096
OWN = "own"
"""Folder of the vidapt model within the checkpoint's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=3.0, help="size of the LLaVA-1.5")
    parser.add_argument("--model", choices=tuple(MODELS), default="llava")
    parser.add_argument("--arm", choices=(*ARMS, "write"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--no-results", action="store_true", help="print only")
    options = parser.parse_args()
    if options.arm == "write":
        config, make = MODELS[options.model](options.gb * 1e9)
        print(json.dumps({"bytes": write_checkpoint(options.folder, config, make)}))
        return
    if options.arm:
        print(json.dumps(ARMS[options.arm](options.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # In processes of their own, as a process is born with the peak of the one that starts it.
        size = int(_run("write", folder, "--gb", str(options.gb), "--model", options.model)["bytes"])
        arms = ["read", "open", "start"]
        if options.model == "llava":
            _run("save", folder)
            arms.append("own")
        _run("read", folder)
        runs = [{arm: _run(arm, folder) for arm in arms} for _ in range(ROUNDS)]
    best = {arm: min((run[arm] for run in runs), key=lambda r: r["seconds"]) for arm in runs[0]}
    from _machine import describe

    result = {
        "bytes": size,
        "read_seconds": best["read"]["seconds"],
        "open_seconds": best["open"]["seconds"],
        "ratio_vs_read": round(best["open"]["seconds"] / best["read"]["seconds"], 3),
        "peak_bytes": best["open"]["peak_bytes"],
        "peak_without_a_model": best["start"]["peak_bytes"],
        "peak_ratio": round(best["open"]["peak_bytes"] / size, 3),
    }
    if "own" in best:
        result |= {
            "own_seconds": best["own"]["seconds"],
            "own_ratio_vs_read": round(best["own"]["seconds"] / best["read"]["seconds"], 3),
            "own_peak_bytes": best["own"]["peak_bytes"],
            "own_peak_ratio": round(best["own"]["peak_bytes"] / size, 3),
        }
    result["machine"] = describe()
    if not options.no_results:
        from vidapt.files import write_json

        suffix = "" if options.model == "llava" else f"_{options.model}"
        write_json(RESULTS.with_stem(RESULTS.stem + suffix), result)
    print(json.dumps({key: value for key, value in result.items() if key != "machine"}))


def llava(wanted: float) -> tuple[Any, Any]:
    """A LLaVA-1.5 of about `wanted` bytes with as many Llama layers as that takes."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    width = 2048
    layers = max(1, int((wanted / 2 - 4.4e8) / (12 * width**2 + width * 5632 * 3 - 8 * width**2)))
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=5632,
        num_hidden_layers=layers,
        num_attention_heads=16,
        vocab_size=32064,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=32000)
    return config, LlavaForConditionalGeneration


def qwen3_vl_4b(wanted: float) -> tuple[Any, Any]:
    """The shape of Qwen3-VL 4B, whatever is wanted."""
    del wanted
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    text = {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2560,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    return config, Qwen3VLForConditionalGeneration


MODELS = {"llava": llava, "qwen3_vl_4b": qwen3_vl_4b}


def write_checkpoint(folder: Path, config: Any, make: Any) -> int:
    """Write a model's weights, made up, with its configuration; returns their size in bytes."""
    import torch
    from safetensors.torch import save_file

    with torch.device("meta"):
        model = make(config)
        tied = set(getattr(model, "all_tied_weights_keys", ()))
        shapes = {k: t.shape for k, t in model.state_dict().items() if k not in tied}
    config.architectures = [make.__name__]
    (folder / "config.json").write_text(config.to_json_string())
    _write_tokenizer(folder)
    generator, names, shard, size = torch.Generator().manual_seed(0), {}, {}, 0
    noise = torch.randn(1 << 22, generator=generator).bfloat16()
    for index, (key, shape) in enumerate(shapes.items()):
        count = shape.numel()
        shard[key] = noise.repeat(count // len(noise) + 1)[:count].reshape(shape).clone()
        size += 2 * count
        if sum(2 * t.numel() for t in shard.values()) > 1e9 or index == len(shapes) - 1:
            file = f"model-{len(set(names.values())) + 1:05d}.safetensors"
            save_file(shard, str(folder / file), metadata={"format": "pt"})
            names |= dict.fromkeys(shard, file)
            shard = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return size


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "a": 2}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def _run(arm: str, folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--arm", arm, "--folder", str(folder), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def read(folder: Path) -> dict[str, float]:
    """Read every byte of the weights once."""
    buffer = bytearray(1 << 24)
    started = time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return _measured(time.perf_counter() - started)


def opened(folder: Path) -> dict[str, float]:
    """Open the model as stored; importing the libraries is not counted."""
    from vidapt.hub import open_checkpoint

    _warm_up()
    started = time.perf_counter()
    model, _, report = open_checkpoint(folder, dtype=None)
    _touch(model)
    seconds = time.perf_counter() - started
    assert len(report.matched) > 100
    return _measured(seconds)


def own(folder: Path) -> dict[str, float]:
    """The same of the model's folder that vidapt saved."""
    from vidapt.models.folder import open_folder

    _warm_up()
    started = time.perf_counter()
    _touch(open_folder(folder / OWN, dtype=None)[0])
    return _measured(time.perf_counter() - started)


def save(folder: Path) -> dict[str, float]:
    """Save the published checkpoint as a vidapt model."""
    from vidapt.hub import open_checkpoint
    from vidapt.models.folder import save_model

    started = time.perf_counter()
    model, tokenizer, _ = open_checkpoint(folder, dtype=None)
    save_model(folder / OWN, model, tokenizer, {})
    return _measured(time.perf_counter() - started)


def _touch(model: Any) -> None:
    """Read something of every page of the weights."""
    for weight in model.parameters():
        assert weight.device.type == "cpu"
        weight.detach().flatten()[:: PAGE // weight.element_size()].float().sum()


def start(folder: Path) -> dict[str, float]:
    """Only import what opening needs."""
    del folder
    _warm_up()
    return _measured(0.0)


def _warm_up() -> None:
    """Import what is imported where it is used, so that files and not modules are timed."""
    import transformers.models.clip.modeling_clip
    import transformers.models.llama.modeling_llama  # noqa: F401

    import vidapt.hub
    from vidapt import parts

    vidapt.hub.families()
    for family, kind in (
        ("towers", "frame_vit"),
        ("connectors", "pool_mlp"),
        ("resolutions", "whole"),
        ("positions", "rope1d"),
    ):
        parts.find(family, kind)  # type: ignore[arg-type]


def _measured(seconds: float) -> dict[str, float]:
    # Kibibytes on Linux; pages of mapped files count while they are in memory.
    return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


ARMS = {"read": read, "open": opened, "own": own, "save": save, "start": start}


if __name__ == "__main__":
    main()
