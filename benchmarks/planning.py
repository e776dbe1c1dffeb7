"""What `vidapt plan` foresees against what the run does: tokens, memory, and the time of a step.

    python benchmarks/planning.py [--only WAY] [--out FILE]

For each way to train: the plan's tokens against those that a run of 6 steps reads; its gradients and
activations against the run's peak, counted tensor by tensor; and the seconds of a step, foreseen after 20
steps of calibration, against the mean of the steps of a run of its own. Seconds are the process's CPU time,
one thread, float32, seed 0. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers

from _accounted import accounted
from _machine import describe
from _packing_work import Sizes, Work, make_work
from vidapt.planning.calibration import calibrate
from vidapt.planning.numbers import RecipePlan
from vidapt.planning.plan import Means, plan_recipe
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.outlook import Outlook, outlook
from vidapt.training.run import train

CLIPS = 6
COUNTED, CALIBRATED, TIMED = 6, 20, 24
"""Steps of the run that is counted, of the calibration, and of the run that is timed."""

WARM = 2
"""Steps of a run that are not timed; nor is the last, which is saved."""

RESULTS = Path(__file__).parent / "results" / "planning.json"

FROZEN = {"towers": "frozen", "connector": "full", "language": "lora"}
ONE_CLIP = {"clips": 1, "questions": 8}


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        sizes: Of the model and what it reads.
        stage: What differs from adapters behind a frozen tower, one clip of 8 questions in a step.
    """

    sizes: Sizes
    stage: dict[str, Any] = field(default_factory=dict)


SMALL, MIDDLE = Sizes(144, clips=CLIPS), Sizes(576, clips=CLIPS)
WAYS = {
    "everything learns": Way(SMALL, {"train": {"towers": "full", "connector": "full", "language": "full"}}),
    "adapters, features kept": Way(MIDDLE),
    "adapters, nothing kept": Way(MIDDLE, {"cache": {"keep": "nothing"}}),
    "separate samples": Way(SMALL, {"batching": {**ONE_CLIP, "shared_prefix": False}}),
    "states computed again, 12 layers": Way(Sizes(144, clips=CLIPS, layers=12), {"recompute": True}),
    "portions of one clip": Way(SMALL, {"batching": {"clips": 3, "questions": 8, "at_once": 1}}),
    "wide, few questions, some blind": Way(
        Sizes(144, clips=CLIPS, width=512, layers=2),
        {"batching": {"clips": 2, "questions": 3, "blind": 0.2}},
    ),
    "norms and the last layers": Way(SMALL, {"train": {"towers": {"last": 2}, "language": "norms"}}),
}


def recipe(work: Work, way: Way, steps: int) -> Recipe:
    stage = {
        "name": "adapt",
        "data": [{"path": str(work.labels)}],
        "train": FROZEN,
        "batching": ONE_CLIP,
        **way.stage,
        "steps": steps,
        "save_every": steps,
    }
    return Recipe.model_validate({"name": "run", "start": str(work.checkpoint), "stages": [stage]})


def counted(work: Work, way: Way) -> dict[str, Any]:
    """Tokens and memory, foreseen and measured."""
    found: list[RecipePlan] = []

    def look(ahead: Outlook) -> None:
        found.append(plan_recipe(ahead, Means("h100"), every_step=True))

    with tempfile.TemporaryDirectory() as runs, accounted() as taken:
        train(recipe(work, way, COUNTED), Path(runs), silent, workers=0, look=look)
    (plan,) = found[0].stages
    assert plan.memory is not None, plan.unknown
    planned = plan.memory.gradients + plan.memory.activations
    return {
        "tokens": {"planned": plan.tokens.total, "run": sum(taken.tokens)},
        "memory": {"planned": planned, "run": max(taken.peaks), "ratio": planned / max(taken.peaks)},
        "flops": {"planned": plan.flops, "run": sum(taken.flops), "ratio": plan.flops / sum(taken.flops)},
    }


def timed(work: Work, way: Way) -> dict[str, float]:
    """Seconds of a step, foreseen and measured."""
    plan = recipe(work, way, TIMED)
    rates = calibrate(plan, CALIBRATED, device="cpu", workers=0, report=silent, clock=time.process_time)
    ahead = outlook(plan, silent)
    (stage,) = plan_recipe(ahead, Means("h100"), every_step=True).stages
    ((per_operation, _),) = rates.values()
    planned = per_operation * stage.flops / stage.steps
    marks: list[float] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        del done, total, note
        if task == "adapt":
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as runs:
        train(plan, Path(runs), report, workers=0)
    steps = marks[WARM - 1 : -1]
    run = (steps[-1] - steps[0]) / (len(steps) - 1)
    return {"planned": planned, "run": run, "ratio": planned / run}


def measure(folder: Path, name: str, way: Way) -> dict[str, Any]:
    sizes = way.sizes
    # Clips are filmed once; checkpoints of equal width and depth are one.
    work = make_work(folder, sizes, f"{sizes.visual_tokens}-{sizes.width}-{sizes.layers}")
    found = {**counted(work, way), "step_cpu_s": timed(work, way)}
    tokens, memory, step = found["tokens"], found["memory"], found["step_cpu_s"]
    print(
        f"{name}: tokens {tokens['planned']} of {tokens['run']}, memory {memory['ratio']:.3f}, "
        f"step {step['planned']:.3f} s of {step['run']:.3f}, {step['ratio']:.3f}",
        file=sys.stderr,
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=list(WAYS), help="this way alone; kept only where --out says")
    parser.add_argument(
        "--out", type=Path, help="write the result here; results/planning.json if all are run"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    names = [options.only] if options.only else list(WAYS)
    with tempfile.TemporaryDirectory() as folder:
        ways = {name: measure(Path(folder), name, WAYS[name]) for name in names}
    result = {
        "ways": ways,
        "tokens_exact": all(one["tokens"]["planned"] == one["tokens"]["run"] for one in ways.values()),
        "worst_memory": max(abs(one["memory"]["ratio"] - 1) for one in ways.values()),
        "worst_step": max(abs(one["step_cpu_s"]["ratio"] - 1) for one in ways.values()),
        "steps": {"counted": COUNTED, "calibrated": CALIBRATED, "timed": TIMED},
        "seed": 0,
        "machine": describe("vidapt", "torch", "transformers", "peft"),
    }
    out = options.out or (None if options.only else RESULTS)
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
