"""Endurance of `vidapt label`: a teacher that often fails, and a job that is killed again and again.

    python benchmarks/label.py [--clips 2000] [--kills 5] [--folder FOLDER] [--out FILE]

A teacher in this process fails, stalls, is cut off or sends no JSON in a tenth of all requests
(`_bad_teacher`). The job labels tiny clips by facts, first within a budget that does not last, then with
enough; at random moments it is ended by SIGKILL and started again. Then it is counted: every clip has its
labels or its reason once, no question was asked again whose answer had been kept, and the budget was kept to.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

import numpy as np
from label_tools import beside, lines, pictures_of, recipe_file, teacher
from served_tools import serving

from _bad_teacher import USED, BadTeacher, digest_of, number_of, paid_twice
from _machine import describe
from vidapt.video import write_mp4

RESULTS = Path(__file__).parent / "results" / "label.json"
CONCURRENCY, TIMEOUT_S = 8, 2.0
PRICE = {"input": 1.0, "output": 10.0}
_CALL = (PRICE["input"] * USED["prompt_tokens"] + PRICE["output"] * USED["completion_tokens"]) / 1e6
_LONGEST = 256
_BOUND = (PRICE["input"] * 4096 + PRICE["output"] * _LONGEST) / 1e6
"""What a question can cost at most, about: its words are less than 4 KB."""


def film(folder: Path, count: int) -> Path:
    """Tiny clips, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05d}.mp4"
        if not path.exists():
            noise = np.random.default_rng(number).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
            write_mp4(path, noise.repeat(8, axis=1).repeat(8, axis=2), 4)
    return folder


def telling(body: dict[str, Any]) -> dict[str, Any]:
    """A good teacher, who states other facts of other pictures."""
    reply = teacher(body)
    shown = digest_of({"pictures": pictures_of(body)})[:8]
    message = reply["choices"][0]["message"]
    if pictures_of(body):
        message["content"] = message["content"].replace("red ball", f"ball {shown}")
    return reply


class Job:
    """The command, started as often as is needed."""

    def __init__(self, words: list[str | Path], replies: Path) -> None:
        self._words, self._replies = words, replies
        self.starts = 0

    def run(self, *more: str, kill_at: int | None = None, chance: random.Random | None = None) -> int:
        """Start it; returns its exit status.

        Args:
            more: Further words.
            kill_at: Kill it once so many answers are kept, and a moment later.
            chance: Decides how much later.
        """
        self.starts += 1
        command = [sys.executable, "-m", "vidapt", "label", *map(str, self._words), *more]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while kill_at is not None and running.poll() is None:
                if self.answered() >= kill_at:
                    time.sleep((chance or random.Random(0)).uniform(0, 0.3))
                    running.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.02)
            told = running.communicate()[1]
        finally:
            running.kill()
            running.wait()
        if running.returncode not in (0, 2, -signal.SIGKILL):
            sys.stderr.write(told.decode())
        return running.returncode

    def answered(self) -> int:
        """Answers that are kept."""
        return self._replies.read_bytes().count(b'{"reply"') if self._replies.exists() else 0


def endure(
    folder: Path, clips: int, kills: int, *, seed: int = 0, tell: Callable[[str], object] = print
) -> dict[str, Any]:
    """Label, kill, go on; returns what was counted.

    Args:
        folder: Where clips and labels go.
        clips: How many.
        kills: How often it is killed, half of the times under a budget that does not last.
        seed: Decides when, and what goes wrong.
        tell: Told how far it is.
    """
    chance, bad = random.Random(seed), BadTeacher(telling, stall_s=TIMEOUT_S + 1, seed=seed)
    films, out = film(folder / "clips", clips), folder / "labels.jsonl"
    replies = beside(out, "replies")
    began = time.monotonic()
    with serving(bad) as fake:
        own = {"concurrency": CONCURRENCY, "timeout_s": TIMEOUT_S, "retries": 8, "price": PRICE}
        recipe = recipe_file(
            folder / "label.yaml", fake, "facts", endpoint=own, decoding={"max_tokens": _LONGEST}
        )
        job = Job([films, "--recipe", recipe, "--out", out, "--workers", "0"], replies)
        calls, killed = 2 * clips, 0
        little = round(calls / 2 * _CALL, 6)
        budgets: list[float] = []

        def run_killed(first: float, last: float, *more: str) -> None:
            nonlocal killed
            place = int(calls * chance.uniform(first, last))
            # While it is to be killed it cannot end by itself, however slow whoever kills it is.
            bad.hold(max(0, place - job.answered()) + min(CONCURRENCY, clips // 10))
            status = job.run(*more, kill_at=place, chance=chance)
            bad.hold(None)
            killed += status == -signal.SIGKILL
            tell(f"killed at {place} answers and more: {status}; {job.answered()} are kept")

        for number in range(kills // 2):
            run_killed(number * 0.6 / kills, (number + 1) * 0.6 / kills, "--max-cost", str(little))
            budgets.append(_spent(bad))
        first = job.run("--max-cost", str(little))
        budgets.append(_spent(bad))
        tell(f"the budget of {little}: {first}, {budgets[-1]:.6f} spent")
        for number in range(kills // 2, kills):
            at = number - kills // 2
            run_killed(0.5 + at * 0.8 / kills, 0.5 + (at + 1) * 0.8 / kills)
        status = job.run()
        tell(f"to the end: {status}")
    return {
        "clips": clips,
        "killed": killed,
        "starts": job.starts,
        "status_under_budget": first,
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "budget": little,
        "most_under_way": round(CONCURRENCY * _BOUND, 6),
        "spent_under_budget": [round(one, 6) for one in budgets],
        **counted(bad, films, out),
    }


def _spent(bad: BadTeacher) -> float:
    """What all answers cost that were sent."""
    return bad.answers * _CALL


def counted(bad: BadTeacher, films: Path, out: Path) -> dict[str, Any]:
    """What there is in the end."""
    rows, broken = lines(out), beside(out, "quarantine")
    named = Counter(row["id"] for row in rows)
    reasons = [row["clip"] for row in lines(broken)] if broken.exists() else []
    clips = {path.stem for path in films.iterdir()}
    kept = [line for line in lines(beside(out, "replies")) if "reply" in line]
    numbers = {number_of(line["said"]["text"]) for line in kept}
    known = {Path(name).stem for name in (*named, *reasons)}
    return {
        "labelled": len(named),
        "labelled_twice": sum(count > 1 for count in named.values()),
        "quarantined": len(reasons),
        "without_either": len(clips - known),
        "with_both": len({Path(name).stem for name in named} & {Path(name).stem for name in reasons}),
        "requests": bad.requests,
        "wrong": dict(sorted(bad.wrong.items())),
        "answers_sent": bad.answers,
        "answers_kept": len(kept),
        "keys_kept_twice": len(kept) - len({line["reply"] for line in kept}),
        "asked_again_although_kept": len(paid_twice(bad, numbers)),
        "answers_lost_at_kills": bad.answers - len(kept),
        "left": [one.name for one in out.parent.iterdir() if "partial" in one.name],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="by default a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = endure(
            given.folder or Path(temporary), given.clips, given.kills, seed=given.seed, tell=_remark
        )
    result = {**found, "machine": describe("vidapt", "openai", "av")}
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
