"""Seconds per question on a CUDA GPU in bfloat16: the arms of `packing.py`, and FlexAttention.

    python benchmarks/gpu.py [--device cuda] [--tokens 2304] [--out FILE]

Sizes are those of a small published model (CLIP-L/14 at 336 pixels, a language model of 16 layers, width
2048), with random weights. Wall-clock time of steps without the first two. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

import _trainer_peer as peer
from _machine import describe
from _our_arms import BOTH, CACHED, SEPARATE, SHARED, Timed, run
from _packing_work import Sizes, make_work

STEPS, UNCOUNTED = 12, 2
SHARED_PER_STEP = 32
FLEX = replace(BOTH, name=f"{BOTH.name}, FlexAttention", flex=True)


def sizes(tokens: int) -> Sizes:
    return Sizes(tokens, clips=16, tower_width=1024, tower_layers=24, width=2048, layers=16, vocabulary=32000)


def per_question(timed: Timed) -> float:
    """Mean cost of a question over the steps that count; compiling happens before them."""
    marks = timed.marks[UNCOUNTED - 1 :]
    return (marks[-1] - marks[0]) / ((len(marks) - 1) * timed.per_step)


def benchmark(folder: Path, device: str, tokens: int) -> dict[str, Any]:
    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    work = make_work(folder, sizes(tokens))
    costs: dict[str, dict[str, float]] = {}
    for arm in (SEPARATE, SHARED, CACHED, BOTH, FLEX):
        torch.cuda.reset_peak_memory_stats(device)
        timed = run(
            work,
            arm,
            STEPS,
            clock,
            questions_per_step=SHARED_PER_STEP if arm.shared else peer.QUESTIONS_PER_STEP,
            device=device,
            precision="bfloat16",
        )
        costs[arm.name] = {"s": per_question(timed), "peak_bytes": torch.cuda.max_memory_allocated(device)}
        print(f"{arm.name}: {costs[arm.name]}", file=sys.stderr, flush=True)
    torch.cuda.reset_peak_memory_stats(device)
    marks = peer.run(work, STEPS, clock, bf16=True)
    trainer = per_question(Timed(0.0, marks, peer.QUESTIONS_PER_STEP))
    costs["transformers Trainer"] = {"s": trainer, "peak_bytes": torch.cuda.max_memory_allocated(device)}
    return {
        "ratio_vs_trainer": trainer / costs[BOTH.name]["s"],
        "speedup_shared": costs[SEPARATE.name]["s"] / costs[SHARED.name]["s"],
        "speedup_flex": costs[BOTH.name]["s"] / costs[FLEX.name]["s"],
        "s_per_question": costs,
        "work": work.describe(),
        "device": torch.cuda.get_device_name(device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...")
    parser.add_argument(
        "--tokens", type=int, default=2304, choices=(576, 2304), help="visual tokens per clip"
    )
    parser.add_argument("--out", type=Path, help="write the result here")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "gpu.py: this machine has no CUDA GPU, so there is nothing to measure\n")
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        result = benchmark(Path(folder), options.device, options.tokens)
    result["machine"] = describe("vidapt", "torch", "transformers", "peft", "av", "numpy")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
