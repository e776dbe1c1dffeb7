"""SPARC's local loss at video length: peak memory and time, against its plain form.

    python benchmarks/local_align.py [--quick] [--out FILE]

16 clips of 2356 patches and texts of 50 tokens, 512 wide, in float32 on one thread, forward and backward.
`allocated` is what tensors take at most beside the inputs and their gradients, as a multiple of the
similarity tensor [texts, tokens, patches]; `resident` is the same by the system's account, each in a process
of its own, and contains what libraries keep for themselves. The plain form is the paper's listing in
autograd. Process CPU time is counted, and the cheapest of several rounds counts. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from _machine import describe
from vidapt.objectives import Pairs
from vidapt.objectives.local_align import Part

CLIPS, PATCHES, TOKENS, WIDTH = 16, 2356, 50, 512
SIMILARITY = CLIPS * TOKENS * PATCHES * 4
GRADIENTS = CLIPS * (PATCHES + TOKENS) * WIDTH * 4
ARMS: dict[str, dict[str, Any] | None] = {
    "threshold": {},
    "top_k": {"sparsify": "top_k", "k": 36},
    "quantile": {"sparsify": "quantile", "q": 2320 / 2356},
    "plain": None,
}
RESULTS = Path(__file__).parent / "results" / "local_align.json"

Loss = Callable[[Tensor, Tensor], Tensor]


def plain(patches: Tensor, tokens: Tensor) -> Tensor:
    """The listing's steps, one tensor after another; every text is full, so that there is no mask."""
    similar = torch.einsum("nlc,npc->nlp", tokens, patches)
    low, high = similar.amin(-1, keepdim=True), similar.amax(-1, keepdim=True)
    heights = (similar - low) / (high - low)
    heights = torch.where(heights < 1 / patches.shape[1], 0.0, heights)
    groups = torch.einsum("nlp,npc->nlc", heights / heights.sum(-1, keepdim=True), patches)
    logits = F.normalize(groups, dim=-1) @ F.normalize(tokens, dim=-1).transpose(1, 2) / 0.07
    truth = torch.arange(tokens.shape[1]).repeat(len(tokens))
    ways = (logits, logits.transpose(1, 2))
    return sum(F.cross_entropy(way.flatten(0, 1), truth) for way in ways) / 2


def ours(options: dict[str, Any]) -> Loss:
    term = Part(Part.Config(**options))

    def loss(patches: Tensor, tokens: Tensor) -> Tensor:
        clips, texts = len(patches), len(tokens)
        everyone = torch.arange(clips)
        pairs = Pairs(
            videos=torch.zeros(clips, 1),
            texts=torch.zeros(texts, 1),
            clip_of=everyone,
            group=everyone,
            scale=torch.ones(()),
            token_mask=torch.ones(texts, tokens.shape[1], dtype=torch.bool),
            patches=lambda level: patches,
            tokens=lambda level: tokens,
        )
        return term(pairs).value

    return loss


def loss_of(arm: str) -> Loss:
    options = ARMS[arm]
    return plain if options is None else ours(options)


def inputs(clips: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return (
        torch.randn(clips, PATCHES, WIDTH, requires_grad=True),
        torch.randn(clips, TOKENS, WIDTH, requires_grad=True),
    )


def allocated(work: Callable[[], Any]) -> tuple[Any, int, int]:
    """What `work` gives, the most bytes its tensors took at a time, and those it left."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        made = work()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    steps = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, size in steps:
        now += size
        most = max(most, now)
    return made, most, now


def peak_of_tensors(arm: str) -> dict[str, float]:
    """Forward and backward, as multiples of the similarity tensor; gradients of the inputs are taken off."""
    patches, tokens = inputs(CLIPS)
    loss = loss_of(arm)
    value, forward, left = allocated(lambda: loss(patches, tokens))
    _, backward, _ = allocated(value.backward)
    return {"forward": forward / SIMILARITY, "backward": (left + backward - GRADIENTS) / SIMILARITY}


def status(key: str) -> int:
    """Bytes of an entry of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{key}:")]
    return 1024 * int(line.split()[1])


def resident(arm: str) -> float:
    """Of this process, which has to be a fresh one."""
    loss = loss_of(arm)
    loss(*inputs(1)).backward()
    patches, tokens = inputs(CLIPS)
    before = status("VmRSS")
    loss(patches, tokens).backward()
    return (status("VmHWM") - before - GRADIENTS) / SIMILARITY


def seconds(arm: str, rounds: int) -> float:
    patches, tokens = inputs(CLIPS)
    loss, costs = loss_of(arm), []
    for _ in range(rounds + 1):
        patches.grad = tokens.grad = None
        begun = time.process_time()
        loss(patches, tokens).backward()
        costs.append(time.process_time() - begun)
    return min(costs[1:])


def difference() -> float:
    """Of the gradients of patches, between the plain form and ours, relative to the largest."""
    grads = []
    for arm in ("threshold", "plain"):
        patches, tokens = inputs(2)
        loss_of(arm)(patches, tokens).backward()
        assert patches.grad is not None
        grads.append(patches.grad)
    return float((grads[0] - grads[1]).abs().max() / grads[1].abs().max())


def measure(arm: str, rounds: int) -> dict[str, float]:
    tensors = peak_of_tensors(arm)
    # A fixed threshold makes the allocator return what is freed, so that only what is in use counts.
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, __file__, "--resident", arm]
    child = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
    cost = seconds(arm, rounds)
    found = {
        "allocated": max(tensors.values()),
        "allocated_forward": tensors["forward"],
        "allocated_backward": tensors["backward"],
        "resident": float(child.stdout),
        "cpu_s": cost,
        "texts_per_s": CLIPS / cost,
    }
    print(arm, {key: round(value, 3) for key, value in found.items()}, file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round; times are rough")
    parser.add_argument(
        "--out", type=Path, help="write the result here; results/local_align.json if not --quick"
    )
    parser.add_argument("--resident", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.resident:
        print(resident(options.resident))
        return
    arms = {arm: measure(arm, 1 if options.quick else 7) for arm in ARMS}
    result: dict[str, Any] = {
        "peak_vs_similarity": arms["threshold"]["allocated"],
        "peak_vs_similarity_any": max(found["allocated"] for arm, found in arms.items() if arm != "plain"),
        "time_vs_plain": arms["threshold"]["cpu_s"] / arms["plain"]["cpu_s"],
        "max_rel_grad_diff": difference(),
        "similarity_bytes": SIMILARITY,
        "bytes_per_token_patch_channel": SIMILARITY * WIDTH,
        "arms": arms,
        "work": {"clips": CLIPS, "patches": PATCHES, "tokens": TOKENS, "width": WIDTH},
        "quick": options.quick,
        "machine": describe("vidapt", "torch"),
    }
    out = options.out or (None if options.quick else RESULTS)
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
