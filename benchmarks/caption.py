"""Captions against transformers' `generate`: the same weights, clips, frames and greedy words, in one run.

    python benchmarks/caption.py [--quick] [--size tiny] [--seconds 20] [--cores 2] [--out F]

A LLaVA-NeXT-Video of random weights, saved by its own class, captions clips from their files: by the
documentation's loop over clips, by static batches of several sizes, and by `vidapt caption`. Answers end at
one token in 24, so that their lengths differ. Four questions about each clip are compared with one.

With one core all arms do all of their work in one thread, and CPU seconds, decoding among them, compare on a
machine that others use, too. With more, every arm has as many: the peers as threads of torch, vidapt as a
decoding process for each, which is its default, and one thread less for the rest; then seconds by the clock
compare, the start of the processes among them, on a machine that nobody else uses. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import transformers
from transformers import LlavaNextVideoForConditionalGeneration

from _generate_peer import Generate
from _machine import describe
from _packing_work import Sizes, Work, make_work
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.video import decode

PROMPT = "describe the video."
PROMPTS = (PROMPT, "what does the ball do?", "which things touch?", "what stands still, and where?")
LONGEST = 128
BATCHES = (4, 8, 16, 32)
ROUNDS = 2
SIZES = {
    "tiny": Sizes(144, tower_width=64, tower_layers=2, width=128, layers=2),
    "small": Sizes(576),
}
"""The tiny one has the cost of a step, however few rows it is for; the small one that of numbers as well."""

SHAKEN, END_SHARE = 0.1, 24
"""One token in so many ends an answer."""


def make(folder: Path, size: str, clips: int, seconds: float) -> Work:
    """Clips, and a checkpoint whose answers end early or late, or not before the limit."""
    work = make_work(folder, replace(SIZES[size], clips=clips, seconds=seconds))
    _shake(work.checkpoint)
    ends = list(range(5, work.sizes.vocabulary, END_SHARE))
    settings = {"eos_token_id": ends, "pad_token_id": 0}
    (work.checkpoint / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return work


def _shake(checkpoint: Path) -> None:
    """Let answers wander: one of weights as small as new ones are is a word over and over."""
    torch.manual_seed(1)
    model = LlavaNextVideoForConditionalGeneration.from_pretrained(checkpoint)
    with torch.no_grad():
        for weight in model.model.language_model.parameters():
            weight.add_(torch.randn_like(weight) * SHAKEN)
    model.save_pretrained(checkpoint)


class Arms:
    """What is compared.

    Args:
        folder: Where all of it lies.
        size: Of the model, one of `SIZES`.
        clips: How many.
        length: Seconds of each.
        cores: That every arm has; of more than one, vidapt decodes on each, in processes.
    """

    def __init__(self, folder: Path, size: str, clips: int, length: float, cores: int) -> None:
        self.work, self._folder, self._made = make(folder, size, clips, length), folder, 0
        self._cores, self._workers = cores, cores if cores > 1 else 0
        self.engine = load(self.work.checkpoint)
        self.clips = sorted(self.work.labels.parent.glob("*.mp4"))
        policy = self.engine.model.blueprint.frames
        moments = {
            clip.name: [float(at) for at in decode(Clip(clip.stem, clip), policy).times_s]
            for clip in self.clips
        }
        self.peer = Generate(self.work, moments)
        self.said: dict[str, dict[str, str]] = {}

    def static(self, batch: int) -> Callable[[], None]:
        """transformers, so many clips at a time."""

        def run() -> None:
            torch.set_num_threads(self._cores)
            captions = list(self.peer.captions(self.clips, PROMPT, LONGEST, batch))
            self.said[f"static {batch}"] = dict(
                zip((clip.name for clip in self.clips), captions, strict=True)
            )

        return run

    def ours(self, prompts: tuple[str, ...], batch: int | None = None) -> Callable[[], None]:
        """vidapt, from files to Parquet."""

        def run() -> None:
            torch.set_num_threads(max(1, self._cores - 1))
            self._made += 1
            out = self._folder / f"captions-{self._made}"
            caption_store(
                Builtin(self.engine),
                self.work.labels.parent,
                out,
                prompts=prompts,
                decoding=Decoding(max_new_tokens=LONGEST),
                workers=self._workers,
                batch=batch,
            )
            rows = pq.read_table(out / "captions.parquet").to_pylist()
            self.said[f"vidapt {len(prompts)}"] = {row["clip"]: row["captions"][0] for row in rows}
            self.tokens = [row["tokens"][0] for row in rows]

        return run


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds and seconds by the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - clock


def benchmark(
    folder: Path, size: str, clips: int, length: float, cores: int, rounds: int, batches: tuple[int, ...]
) -> dict[str, Any]:
    """All arms, so many times; the best of each counts."""
    arms = Arms(folder, size, clips, length, cores)
    runs = {"one at a time": arms.static(1)} | {f"static {batch}": arms.static(batch) for batch in batches}
    runs |= {"vidapt": arms.ours((PROMPT,)), "vidapt, four questions": arms.ours(PROMPTS)}
    arms.ours((PROMPT,))()  # libraries are imported, and files are in memory
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            took[name].append(seconds(run))
            cpu, clock = (each / clips for each in took[name][-1])
            print(f"{name}: {cpu:.3f} CPU s a clip, {clock:.3f} by the clock", file=sys.stderr, flush=True)
    by_cpu, by_clock = (
        {name: min(each[at] for each in both) / clips for name, both in took.items()} for at in (0, 1)
    )
    # With several cores, CPU seconds do not tell of the decoding process, nor of threads that wait.
    cost = by_cpu if cores == 1 else by_clock
    best = min(batches, key=lambda batch: cost[f"static {batch}"])
    ours, theirs = arms.said["vidapt 1"], arms.said["static 1"]
    return {
        "compared": "CPU seconds" if cores == 1 else "seconds by the clock",
        "ratio_vs_one_at_a_time": cost["one at a time"] / cost["vidapt"],
        "ratio_vs_best_static_batch": cost[f"static {best}"] / cost["vidapt"],
        "best_static_batch": best,
        "four_questions_by_one": cost["vidapt, four questions"] / cost["vidapt"],
        "equal_captions": sum(ours[name] == text for name, text in theirs.items()),
        "equal_between_static_batches": sum(
            arms.said[f"static {best}"][name] == text for name, text in theirs.items()
        ),
        "clips": clips,
        "new_tokens": sorted(arms.tokens),
        "cpu_s_per_clip": by_cpu,
        "clock_s_per_clip": by_clock,
        "work": arms.work.describe(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer clips, one round")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="of the model")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each clip")
    parser.add_argument("--cores", type=int, default=1, help="that every arm has")
    parser.add_argument("--out", type=Path, help="write the result here")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        rounds, batches = (1, BATCHES[1:3]) if options.quick else (ROUNDS, BATCHES)
        clips = 16 if options.quick else options.clips
        result = benchmark(Path(folder), options.size, clips, options.seconds, options.cores, rounds, batches)
        result["cores"] = options.cores
    result["machine"] = describe("vidapt", "torch", "transformers", "av", "numpy")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
