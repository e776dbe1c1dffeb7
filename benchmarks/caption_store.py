"""What a store of captions costs and survives, beside the model, which a stub stands for.

    python benchmarks/caption_store.py million [--clips 1000000] [--again] [--folder FOLDER]
    python benchmarks/caption_store.py kills [--clips 10000] [--kills 20] [--seed 0]
    python benchmarks/caption_store.py anywhere [--clips 10000] [--kills 20] [--seed 0]
    python benchmarks/caption_store.py prompts

`million` writes so many tiny files, captions a part of them, kills the process, goes on in another one, and
measures how long that takes to begin, the memory of both, and rows a second. `kills` lets two processes work
on one store, kills one of them at random moments so many times, and compares the rows with those of a run
that nothing happened to. `anywhere` does so with a tiny model and decoders, any of which may be killed.
`prompts` asks a model of random weights one question and four about clips of 576
visual tokens. Each adds to `results/caption_store.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow.parquet as pq

from _machine import describe

RESULTS = Path(__file__).parent / "results" / "caption_store.json"
IN_A_FOLDER = 1000
PAUSE_S = 0.15
"""Seconds that a batch takes while processes are killed."""

MADE = ("seconds", "created", "stamp")
"""Columns that tell when a row was made."""


def write_clips(folder: Path, count: int) -> None:
    """Files of a few bytes, no two alike."""
    for number in range(count):
        inside = folder / f"{number // IN_A_FOLDER:04d}"
        if number % IN_A_FOLDER == 0:
            inside.mkdir(parents=True)
        (inside / f"{number}.mp4").write_bytes(b"" if number % 997 == 3 else b"clip %d" % number)


def work(source: Path, out: Path) -> None:
    """What a child does: caption, and tell when it begins and what it took."""
    began = time.monotonic()
    from _stub_engine import StubEngine
    from vidapt.captioning.store.work import caption_store

    called, first = time.monotonic(), list[float]()

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and note and not first:
            first.append(time.monotonic())
            print(json.dumps({"first_batch_s": first[0] - called}), flush=True)

    summary = caption_store(StubEngine(), source, out, report=report)
    told = summary.to_dict() | {
        "import_s": called - began,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told), flush=True)


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    """Start a child that works on a store."""
    command = [sys.executable, __file__, "work", str(source), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(child: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What a child says until its end."""
    output, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"a child ended with {child.returncode}")
    return [json.loads(line) for line in output.splitlines()]


def parts(out: Path) -> int:
    """Shards that are in place."""
    return sum(path.stem.isdigit() for path in out.glob("jobs/*/rows/*.parquet"))


def peak_mb(pid: int) -> float:
    """The most memory that a process that runs had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def million(folder: Path, clips: int, *, again: bool) -> dict[str, Any]:
    """A run of very many clips that is killed when half of its shards are in place, and goes on."""
    source, out = folder / "clips", folder / "store"
    began = time.monotonic()
    write_clips(source, clips)
    found: dict[str, Any] = {"clips": clips, "written_s": time.monotonic() - began}
    half, child, began = clips // 512 // 2, start(source, out), time.monotonic()
    while parts(out) < half:
        if child.poll() is not None:
            raise RuntimeError("it ended before it was killed")
        time.sleep(0.5)
    found["half_s"], found["first_peak_mb"] = time.monotonic() - began, peak_mb(child.pid)
    child.kill()
    first_line = child.communicate()[0].splitlines()[0]
    found["list_and_first_batch_s"] = json.loads(first_line)["first_batch_s"]
    found["rows_when_killed"] = parts(out) * 512
    resumed, ended = told(start(source, out))
    found["resumed_first_batch_s"] = resumed["first_batch_s"]
    found["resumed"] = ended
    table = pq.read_table(out / "captions.parquet", columns=["clip", "status"])
    found["rows"], found["names"] = len(table), len(set(table["clip"].to_pylist()))
    found["failed"] = table["status"].to_pylist().count("failed")
    if again:
        found["again"] = told(start(source, out))[-1]
    return found


def kills(folder: Path, clips: int, times: int, seed: int) -> dict[str, Any]:
    """Two processes of which one is killed again and again; forked, as importing would take longest."""
    source, out, chance = folder / "clips", folder / "cut", random.Random(seed)
    write_clips(source, clips)
    ended(forked(source, folder / "whole", 0.0))
    began, met = time.monotonic(), list[int]()
    children = [forked(source, out, PAUSE_S) for _ in range(2)]
    while len(met) < times:
        time.sleep(chance.uniform(0.05, 1.5))
        at = chance.randrange(2)
        os.kill(children[at], signal.SIGKILL)
        if ended(children[at]):
            met.append(parts(out))
        children[at] = forked(source, out, PAUSE_S)
    for child in children:
        ended(child)
    ended(forked(source, out, 0.0))
    rows, whole = rows_of(out), rows_of(folder / "whole")
    return {
        "clips": clips,
        "shards_in_place_at_kills": met,
        "seconds": time.monotonic() - began,
        "rows": len(rows),
        "names": len({row["clip"] for row in rows}),
        "equal_to_uninterrupted": rows == whole,
        "failed": sum(row["status"] == "failed" for row in rows),
    }


def forked(source: Path, out: Path, pause_s: float, **how: Any) -> int:
    """A process that captions a store, with further options; its number."""
    from _stub_engine import StubEngine
    from vidapt.captioning.store.work import caption_store

    number = os.fork()
    if number:
        return number
    try:
        caption_store(StubEngine(pause_s=pause_s), source, out, **how)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - it must not go on as the process it came from
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def ended(number: int) -> bool:
    """Wait for a process; whether it was killed."""
    _, status = os.waitpid(number, 0)
    if not os.WIFSIGNALED(status) and status:
        raise RuntimeError("a process failed")
    return os.WIFSIGNALED(status)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Rows of a store without what tells when they were made."""
    rows = pq.read_table(out / "captions.parquet").drop_columns(list(MADE)).to_pylist()
    return list(rows)


def main() -> None:
    """Carry out what is asked for."""
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["million", "kills", "anywhere", "prompts"])
    parser.add_argument("--clips", type=int)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="Run what is finished once more, too.")
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        if given.what == "million":
            found = million(folder, given.clips or 1_000_000, again=given.again)
        elif given.what == "kills":
            found = kills(folder, given.clips or 10_000, given.kills, given.seed)
        elif given.what == "anywhere":
            from _kills_work import kills_anywhere

            found = kills_anywhere(folder, given.clips or 10_000, given.kills, given.seed)
        else:
            from _prompts_work import prompts

            found = prompts(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=2))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(results | {given.what: found | {"machine": describe()}}, indent=2) + "\n")


if __name__ == "__main__":
    main()
