"""Peak memory of a training step, counted tensor by tensor: beside a Trainer, and with `recompute`.

    python benchmarks/memory.py [--out FILE]

The same work as `packing.py`: LoRA of rank 16 on the language model, the whole projector, a frozen tower,
float32, seed 0. A step's peak is what it is given (pixels or kept features), all that it computes, and its
gradients; weights and what AdamW keeps are the same on both sides and are no part of it. Counting allocations
knows no caches of an allocator, so the numbers are the same on every machine. The last line is JSON.

"As many tokens" puts so many clips into a shared step that the language model reads no fewer tokens than the
Trainer's. The second part gives the language model 12 layers and computes their states again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from torch import Tensor

import _trainer_peer as peer
from _accounted import Taken, accounted
from _machine import describe
from _our_arms import BOTH, SEPARATE, SHARED, Arm, recipe
from _packing_work import Sizes, Work, make_work
from vidapt.progress import silent
from vidapt.training.run import train

QUESTIONS = 8
"""In a step of both sides: those of one clip where they share it, else one of each of 8 clips."""

CLIPS = 6
"""In a shared step that reads as many tokens as 8 separate questions."""

DEEP = 12
"""Layers of the language model whose states are computed again."""

RESULTS = Path(__file__).parent / "results" / "memory.json"


def step(work: Work, arm: Arm, questions: int, *, clips: int | None = None, recompute: bool = False) -> Taken:
    """One step of ours on all clips or the first ones, by `vidapt.training.run.train`."""
    plan = recipe(work, arm, 1, questions_per_step=questions, clips=clips, recompute=recompute)
    with tempfile.TemporaryDirectory() as runs, accounted() as taken:
        train(plan, Path(runs), silent, workers=0)
    return taken


def beside_trainer(work: Work) -> dict[str, Any]:
    """Peaks of both sides, ours by arm."""
    theirs, read = peer.peak_memory(work, QUESTIONS)
    arms = {
        SEPARATE.name: step(work, SEPARATE, QUESTIONS),
        SHARED.name: step(work, SHARED, QUESTIONS),
        BOTH.name: step(work, BOTH, QUESTIONS),
        f"{SHARED.name}, as many tokens": step(work, SHARED, CLIPS * QUESTIONS, clips=CLIPS),
    }
    found = {
        name: {"peak": taken.peaks[0], "tokens": taken.tokens[0], "ratio_vs_trainer": taken.peaks[0] / theirs}
        for name, taken in arms.items()
    }
    return {"transformers Trainer": {"peak": theirs, "tokens": read}, **found}


def recomputed(work: Work) -> dict[str, float]:
    """A step with and without states that are kept."""
    kept, again = (step(work, SHARED, QUESTIONS, recompute=recompute) for recompute in (False, True))
    return {
        "peak": again.peaks[0],
        "peak_kept": kept.peaks[0],
        "ratio": again.peaks[0] / kept.peaks[0],
        "max_rel_grad_diff": difference(kept.gradients, again.gradients),
    }


def difference(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Largest difference of a weight's gradients, relative to the largest of that weight's."""
    pairs = list(zip(ones, others, strict=True))
    assert pairs
    # Adapters begin with a zero: what stands in front of it has no gradient yet.
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs if a.abs().max() > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="write the result here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        work = make_work(Path(folder), Sizes(576, clips=QUESTIONS))
        deep = make_work(Path(folder, "deep"), Sizes(576, clips=1, layers=DEEP))
        result = {
            "questions": QUESTIONS,
            "bytes": beside_trainer(work),
            "recompute": {"layers": DEEP, **recomputed(deep)},
            "work": work.describe(),
            "seed": 0,
            "machine": describe("vidapt", "torch", "transformers", "peft"),
        }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
