"""CPU seconds per question: separate samples, shared prefixes, a feature cache, and two other trainers.

    python benchmarks/packing.py [--quick] [--rounds N] [--only trainers] [--venv FOLDER] [--out FILE]

The others are a transformers Trainer and LLaMA-Factory, whose release is installed once, into a virtual
environment of its own (`--venv`), and left out with a word where it cannot be.

All arms do the same work in float32 on one thread: clips of 8 questions, 16 frames of real H.264, the same
random LLaVA-NeXT-Video checkpoint, LoRA of rank 16 on the language model, the whole projector, a frozen
tower. Only steps are timed, without the first; process CPU time is counted, so that a busy machine changes
the answer less. Each arm runs in several rounds and its cheapest counts. The last line is JSON.

Losses of all sides are printed as well: six steps on the first clip's 8 questions, from the same adapters, at
one rate, by the same AdamW.

A second part (`hybrid`) does the same for a language model most of whose layers keep states, a tiny Qwen3.5
with random visual tokens: its forward and backward passes alone, by number of questions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers

import _curves as curves
import _llamafactory_peer as factory
import _trainer_peer as peer
from _hybrid_work import HybridSizes, hybrid
from _machine import describe
from _our_arms import BOTH, CACHED, SEPARATE, SHARED, Arm, Timed, compare, first_loss, run
from _packing_work import Sizes, Work, make_work

EPOCHS = 3
"""Visits of a clip over which filling the cache is spread."""

SEPARATE_PER_STEP = peer.QUESTIONS_PER_STEP
SHARED_PER_STEP = {576: 16, 2304: 8}
"""Questions in a step by visual tokens; a step of a large clip is one clip."""

STEPS = {True: 9, False: 5}
"""Steps per run by whether prefixes are shared; the first is not counted."""

HYBRID_ROUNDS = {True: 3, False: 7}
"""Rounds of the second part by whether it is quick."""

TRAINER, FACTORY = "transformers Trainer", "LLaMA-Factory"

VENV = Path.home() / ".cache" / "vidapt" / "benchmarks" / "llamafactory"

RESULTS = Path(__file__).parent / "results" / "packing.json"


def per_question(timed: Timed) -> float:
    """Mean cost of a question over all steps but the first."""
    steps = len(timed.marks) - 1
    return (timed.marks[-1] - timed.marks[0]) / (steps * timed.per_step)


def ours(work: Work, arm: Arm) -> dict[str, float]:
    timed = run(
        work,
        arm,
        STEPS[arm.shared],
        time.process_time,
        questions_per_step=SHARED_PER_STEP[work.sizes.visual_tokens] if arm.shared else SEPARATE_PER_STEP,
    )
    cost = {"cpu_s": per_question(timed)}
    if arm.cached:
        fill = timed.fill / (work.sizes.clips * work.sizes.questions)
        cost |= {"fill_cpu_s": fill, "with_fill_cpu_s": cost["cpu_s"] + fill / EPOCHS}
    return cost


def theirs(work: Work) -> dict[str, float]:
    marks = peer.run(work, STEPS[False], time.process_time)
    return {"cpu_s": per_question(Timed(0.0, marks, SEPARATE_PER_STEP))}


def factorys(work: Work, python: Path, adapter: Path) -> dict[str, float]:
    steps = STEPS[False]
    rows = work.rows()[: steps * SEPARATE_PER_STEP]
    done = factory.run(
        python, work, rows, steps, adapter=adapter, batch=peer.BATCH, accumulation=peer.ACCUMULATE
    )
    return {"cpu_s": per_question(Timed(0.0, done.marks, SEPARATE_PER_STEP))}


def measure(
    work: Work, rounds: int, peers: Mapping[str, Callable[[], dict[str, float]]], arms: Sequence[Arm]
) -> dict[str, dict[str, float]]:
    """The cheapest of `rounds` runs of each arm; arms take turns, so that all meet the same machine."""
    costs: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        found = {arm.name: ours(work, arm) for arm in arms} | {name: cost() for name, cost in peers.items()}
        for name, cost in found.items():
            show(work, name, cost)
            if name not in costs or cost["cpu_s"] < costs[name]["cpu_s"]:
                costs[name] = cost
    return costs


def show(work: Work, name: str, cost: dict[str, float]) -> None:
    numbers = "  ".join(f"{key} {value:.4f}" for key, value in cost.items())
    print(f"{work.sizes.visual_tokens} visual tokens, {name}: {numbers}", file=sys.stderr, flush=True)


def benchmark(folder: Path, venv: Path, rounds: int, *, quick: bool) -> dict[str, Any]:
    works = [make_work(folder, Sizes(tokens, clips=4 if quick else 8)) for tokens in (576, 2304)]
    small, large = works
    found, cost = trainers(small, folder, venv, [SEPARATE, SHARED, CACHED, BOTH], rounds)
    costs = [cost, measure(large, min(rounds, 2), {}, [SEPARATE, SHARED, BOTH])]
    equal = [compare(small, clips=2), compare(large, clips=1)]
    first = peer.loss(small, small.rows()[: small.sizes.questions]), first_loss(small)
    return {
        **found,
        **speedups(costs),
        "max_rel_grad_diff": max(e.gradient for e in equal),
        "max_rel_loss_diff": max(e.gap for e in equal),
        "untrained_loss": {"transformers": first[0], "vidapt": first[1]},
        "losses": losses(small, folder, venv),
        "cpu_s_per_question": {str(w.sizes.visual_tokens): c for w, c in zip(works, costs, strict=True)},
        "work": {str(work.sizes.visual_tokens): work.describe() for work in works},
        "hybrid": hybrid(HybridSizes(), HYBRID_ROUNDS[quick]),
    }


def trainers(
    work: Work, folder: Path, venv: Path, arms: Sequence[Arm], rounds: int
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Ours beside the other trainers; and what each arm costs."""
    adapter, python = peer.save_adapter(work, folder / "adapter"), factory.find_python(venv)
    peers: dict[str, Callable[[], dict[str, float]]] = {TRAINER: lambda: theirs(work)}
    if python is not None:
        peers[FACTORY] = lambda: factorys(work, python, adapter)
    costs = measure(work, rounds, peers, arms)
    found = {
        "ratio": ratios(costs),
        "epochs_of_cache_fill": EPOCHS,
        "rounds": rounds,
        "llamafactory": None if python is None else factory.versions(python),
    }
    return found, costs


def losses(work: Work, folder: Path, venv: Path) -> dict[str, Any]:
    """Of all trainers, step by step."""
    adapter = peer.save_adapter(work, folder / "adapter")
    return curves.compare(work, adapter, factory.find_python(venv))


def part(only: str, folder: Path, venv: Path, rounds: int, *, quick: bool) -> dict[str, Any]:
    """One part of it."""
    if only == "hybrid":
        return {"hybrid": hybrid(HybridSizes(), HYBRID_ROUNDS[quick])}
    work = make_work(folder, Sizes(576, clips=4 if quick else 8))
    if only == "losses":
        return {"losses": losses(work, folder, venv)}
    found, costs = trainers(work, folder, venv, [BOTH], rounds)
    return {**found, "cpu_s_per_question": {"576": costs}, "work": {"576": work.describe()}}


def ratios(costs: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What the others take in units of ours with everything on, without and with filling the cache."""
    both = costs[BOTH.name]
    return {
        name: {
            "steps": costs[name]["cpu_s"] / both["cpu_s"],
            "with_cache_fill": costs[name]["cpu_s"] / both["with_fill_cpu_s"],
        }
        for name in (TRAINER, FACTORY)
        if name in costs
    }


def speedups(costs: Sequence[Mapping[str, dict[str, float]]]) -> dict[str, float]:
    """Our arms beside one another, at 576 and 2304 visual tokens."""
    small, large = ({name: cost["cpu_s"] for name, cost in one.items()} for one in costs)
    return {
        "speedup_shared_576": small[SEPARATE.name] / small[SHARED.name],
        "speedup_shared_2304": large[SEPARATE.name] / large[SHARED.name],
        "speedup_cache_576": small[SEPARATE.name] / small[CACHED.name],
        "speedup_shared_with_cache_576": small[CACHED.name] / small[BOTH.name],
        "speedup_both_576": small[SEPARATE.name] / small[BOTH.name],
        "speedup_both_2304": large[SEPARATE.name] / large[BOTH.name],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer clips and rounds; numbers are rough")
    parser.add_argument(
        "--only", choices=["trainers", "losses", "hybrid"], help="this part alone; kept only where --out says"
    )
    parser.add_argument("--rounds", type=int, help="runs of each arm, of which the cheapest counts")
    parser.add_argument(
        "--venv", type=Path, default=VENV, help="where LLaMA-Factory is installed, once; made if missing"
    )
    parser.add_argument("--out", type=Path, help="write the result here; results/packing.json if not --quick")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder, quick = Path(name), options.quick
        rounds = options.rounds or (1 if quick else 3)
        if options.only:
            result = part(options.only, folder, options.venv, rounds, quick=quick)
        else:
            result = benchmark(folder, options.venv, rounds, quick=quick)
    result |= {"seed": 0, "quick": quick}
    result["machine"] = describe("vidapt", "torch", "transformers", "peft", "av", "numpy")
    out = options.out or (None if options.quick or options.only else RESULTS)
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
