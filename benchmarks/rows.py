"""Time to the first step and memory where labels are very many rows, with their index cold and warm.

    python benchmarks/rows.py [--rows 10000000] [--folder FOLDER] [--out FILE]

Writes a label file of so many rows, eight questions a clip, and begins a recipe of two stages on it, each
time in a process of its own: once without an index and once with it. Times go up to the first step's end,
behind the imports; CPU time is the process's, one thread; memory is the process's peak, torch and all among
it. The clips are a few files under many spellings, which counts as many clips. Ten million rows and their
index take some gigabytes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from _machine import describe
from vidapt.progress import Reporter
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.video import write_mp4

QUESTIONS, FILES, SIDE = 8, 4, 16
SEED = 0
RESULTS = Path(__file__).parent / "results" / "rows.json"

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
_STAGE = "first"
_BLUEPRINT = {
    "towers": [
        {
            "kind": "frame_vit",
            "arch": {
                "model_type": "clip_vision_model",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": SIDE,
                "patch_size": SIDE // 4,
                "projection_dim": 16,
            },
        }
    ],
    "connector": {"kind": "pool_mlp"},
    "resolution": {"kind": "framed", "pool": "average", "order": "pool_first"},
    "frames": {"policy": "uniform", "count": 3},
    "prompt": {"opening": "<answer>"},
    "language": {
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
}


def write_rows(folder: Path, rows: int) -> Path:
    """Film a few clips and write the labels, unless they are there."""
    labels = folder / f"labels-{rows}.jsonl"
    if labels.exists():
        return labels
    chance = np.random.default_rng(SEED)
    for number in range(FILES):
        write_mp4(folder / f"{number}.mp4", chance.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8), 10)
    clips = -(-rows // QUESTIONS)
    side = int(clips**0.5) + 1
    for number in range(side):
        (folder / f"a{number}").mkdir(exist_ok=True)
        (folder / f"b{number}").mkdir(exist_ok=True)
    unfinished = labels.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(_row(row, side) for row in range(rows))
    unfinished.rename(labels)
    return labels


def _row(row: int, side: int) -> str:
    """A line about one of few files, under a name that no other clip has."""
    clip = row // QUESTIONS
    thing, other = _COLOURS[row % 8], _COLOURS[clip % 7]
    return (
        f'{{"video": "a{clip % side}/../b{clip // side}/../{clip % FILES}.mp4", '
        f'"question": "where does the {thing} ball of frame {clip % 997} go?", '
        f'"answer": "to the {other} one, after {row % 59} seconds."}}\n'
    )


def recipe(labels: Path) -> Recipe:
    stage = {
        "data": [{"path": str(labels)}],
        "train": {"towers": "frozen", "connector": "full", "language": "full"},
        "batching": {"clips": 4, "questions": QUESTIONS},
        "cache": {"keep": "nothing"},
        "steps": 100,
    }
    stages = [{"name": name, **stage} for name in (_STAGE, "second")]
    return Recipe.model_validate({"name": "run", "blueprint": _BLUEPRINT, "stages": stages})


class _FirstStep(Exception):  # noqa: N818 - it is no error
    """A step is done."""


def begin(labels: Path) -> dict[str, float]:
    """Train up to the end of the first step; seconds and bytes that took."""
    torch.set_num_threads(1)
    cpu, clock = time.process_time(), time.monotonic()

    def report(task: str, done: int, total: int, note: str = "") -> None:
        del total, note
        if task == _STAGE and done == 1:
            raise _FirstStep

    asked: Reporter = report
    with tempfile.TemporaryDirectory() as runs:
        try:
            train(recipe(labels), Path(runs), asked, workers=0)
        except _FirstStep:
            return {
                "cpu_s": time.process_time() - cpu,
                "wall_s": time.monotonic() - clock,
                "imports_cpu_s": cpu,
                "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            }
    raise AssertionError("there was no step")


def measured(labels: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--begin", str(labels)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """A cold and a warm start."""
    labels = write_rows(folder, rows)
    shutil.rmtree(folder / ".vidapt", ignore_errors=True)
    result: dict[str, Any] = {"rows": rows, "bytes": labels.stat().st_size}
    for state in ("cold", "warm"):
        result[state] = measured(labels)
        print(f"index {state}: {result[state]}", file=sys.stderr, flush=True)
    kept = sum(file.stat().st_size for file in folder.glob(".vidapt/**/*") if file.is_file())
    return result | {"index_bytes": kept, "seed": SEED, "machine": describe("vidapt", "torch", "numpy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the label file")
    parser.add_argument("--folder", type=Path, help="where it is written and kept")
    parser.add_argument("--out", type=Path, help="write the result here; results/rows.json by default")
    parser.add_argument("--begin", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.begin is not None:
        print(json.dumps(begin(options.begin)))
        return
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), options.rows)
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        result = measure(options.folder, options.rows)
    (options.out or RESULTS).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
