"""How many small changes of the code do the tests notice?

    make mutants                                                        all rooms, a sample of each
    make mutants ARGS="--rooms training --sample 0"                     every change of one room
    make mutants ARGS="--again build/mutants/result.json"               only what survived last time

First the tests run once with coverage, which tells who runs what; that is kept, and told again with `--map`.
Then each change is made in memory and the tests that run its function are asked, the quickest first. A change
that makes them fail, hang or die is noticed. What survives is listed; the share that is noticed is the score.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mutants.changes import Mutant, mutants
from mutants.cover import Covered, load_covered, read_covered, save_covered
from mutants.trial import End, Trial, begin, ended, import_heavy

ROOT = Path(__file__).parents[2]
ROOMS = ("training", "objectives", "models", "inference", "captioning")
FEW = "tests/unit", "tests/contracts", "tests/properties", "tests/parity"
"""Tests that run the code in their own process, where a change is seen."""


def main() -> int:
    """Try changes and tell which survive; the exit status is 1 below `--least`."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    covered_at = args.out / "tests.json"
    if args.map or not covered_at.exists():
        _map(args.out, covered_at, args.jobs)
    covered = load_covered(covered_at).among(_collected())
    chosen = _again(args.again) if args.again else list(_sampled(args.rooms, args.sample, args.seed))
    print(f"{len(chosen)} changes", flush=True)
    import_heavy()
    _check_control(covered, args.jobs)
    found: dict[str, dict[str, End]] = {}
    for mutant, end in _tried(chosen, covered, args.jobs, args.budget):
        found.setdefault(mutant.path.parts[2], {})[mutant.name] = end
        if end not in ("noticed", "too slow"):
            print(f"{end}: {mutant.name}", flush=True)
        (args.out / "result.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return _told(found, args.least)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--rooms", nargs="+", default=ROOMS, help="folders of src/vidapt")
    parser.add_argument("--sample", type=int, default=150, help="changes of each room; 0 tries all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=40.0, help="seconds of tests for one change")
    parser.add_argument("--map", action="store_true", help="find out anew which tests run what")
    parser.add_argument("--again", type=Path, help="a result.json whose survivors are tried again")
    parser.add_argument("--least", type=float, default=0.9, help="the share that has to be noticed")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants")
    return parser.parse_args()


def _map(out: Path, covered_at: Path, jobs: int) -> None:
    """Run the tests once and keep which of them run what."""
    settings = out / "settings.ini"  # what begins like the data file is removed with it
    settings.write_text(f"[run]\nsource = vidapt\ndata_file = {out / 'coverage'}\n", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-n", str(jobs), "--dist", "loadfile", "--cov"),
        *(f"--cov-config={settings}", "--cov-context=test", "--cov-report="),
        *(f"--junitxml={out / 'tests.xml'}", *FEW),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    save_covered(read_covered(out / "coverage", out / "tests.xml", ROOT, "src/vidapt/"), covered_at)


def _sampled(rooms: Sequence[str], sample: int, seed: int) -> Iterator[Mutant]:
    for room in rooms:
        files = sorted((ROOT / "src" / "vidapt" / room).rglob("*.py"))
        found = [mutant for file in files for mutant in mutants(file.relative_to(ROOT), ROOT)]
        # A generator of its own for each room, so that what is chosen of one depends on no other.
        chance = random.Random(f"{seed} {room}")
        yield from chance.sample(found, min(sample, len(found))) if sample else found


def _collected() -> set[str]:
    """Names of the tests there are."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *FEW]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {line for line in shown.splitlines() if "::" in line}


def _check_control(covered: Covered, jobs: int) -> None:
    """See that tests pass where nothing is changed, or every change would seem to be noticed."""
    tests = sorted(covered.seconds, key=lambda test: covered.seconds[test])[::40]
    unchanged = Mutant(Path("src/vidapt/errors.py"), "", 0, "change nothing in", "errors.py", -1)
    known = Covered({"src/vidapt/errors.py::": tests}, covered.seconds)
    ((_, end),) = _tried([unchanged], known, jobs, 120.0)
    if end != "survived":
        raise SystemExit(f"without a change the tests end in {end!r}; mend them first")


def _again(result: Path) -> list[Mutant]:
    """What survived, found again by its words, wherever it stands now."""
    told = json.loads(result.read_text(encoding="utf-8"))
    names = {name for room in told.values() for name, end in room.items() if end in ("survived", "no test")}
    wanted = Counter(_without_line(name) for name in names)
    files = sorted({Path(name.partition(":")[0]) for name in names})
    alive = [mutant for file in files if (ROOT / file).exists() for mutant in mutants(file, ROOT)]
    return [mutant for mutant in alive if mutant.name in names or _without_line(mutant.name) in wanted]


def _without_line(name: str) -> str:
    path, _, rest = name.partition(":")
    return f"{path} {rest.partition(' ')[2]}"


def _tried(
    chosen: Sequence[Mutant], covered: Covered, jobs: int, budget: float
) -> Iterator[tuple[Mutant, End]]:
    """Every change with its end, `jobs` at a time."""
    running: list[Trial] = []
    waiting = list(reversed(chosen))
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = [test for test in covered.of(mutant.path, mutant.function, budget)]
            if tests:
                expected = sum(covered.seconds.get(test, 1.0) for test in tests)
                running.append(begin(mutant, tests, 60 + 5 * expected))
            else:
                yield mutant, "no test"
        for trial in list(running):
            end = ended(trial)
            if end is not None:
                running.remove(trial)
                yield trial.mutant, end
        time.sleep(0.05)


def _told(found: dict[str, dict[str, End]], least: float) -> int:
    """A table of the rooms; whether every room has the share asked for."""
    print(f"{'room':12s} {'changes':>8s} {'noticed':>8s} {'score':>7s}  95 % interval")
    fine = True
    for room, ends in found.items():
        counts = Counter(ends.values())
        noticed = counts["noticed"] + counts["too slow"]
        low, high = _wilson(noticed, len(ends))
        print(f"{room:12s} {len(ends):8d} {noticed:8d} {noticed / len(ends):7.3f}  {low:.3f} to {high:.3f}")
        fine = fine and noticed / len(ends) >= least
    return 0 if fine else 1


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval (1927) of a share."""
    z = 1.959964
    share, spread = hits / count, z * math.sqrt(hits * (count - hits) / count + z * z / 4) / count
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    return (middle / scale - spread / scale, middle / scale + spread / scale)


if __name__ == "__main__":
    sys.exit(main())
