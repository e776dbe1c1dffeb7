"""Whether what is reported of a judged model holds the truth although the judge is unwell.

    python benchmarks/judges.py [--trials 500] [--out FILE]

In each trial a model's true accuracy is drawn, 200 answers about clips of 50 films are judged, and the judge
refuses, mumbles, stalls and errs; see `_judge_faults.py`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _judge_faults import Faults, Hall, Held
from _machine import describe

RESULTS = Path(__file__).parent / "results" / "judges.json"
JUDGES = {
    "well": Faults(0.0, 0.0, 0.0, 0.0),
    "unwell": Faults(),
    "errs in a tenth": Faults(flips=0.1),
    "refuses a tenth of right answers": Faults(flips=0.0, refuses=0.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    began = time.monotonic()
    found = {name: measured(Hall(faults), given.trials, name) for name, faults in JUDGES.items()}
    told = {
        "trials": given.trials,
        "cases": Hall.cases,
        "sources": Hall.sources,
        "checked": Hall.checked,
        "judges": found,
        "seconds": round(time.monotonic() - began, 1),
        "machine": describe("numpy"),
    }
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told))


def measured(hall: Hall, trials: int, name: str) -> dict[str, Any]:
    """How often intervals hold the truth, and how wide they are."""
    held = [hall.evaluate(seed) for seed in range(trials)]
    kinds = {kind: _kind(held, kind) for kind in held[0].ends}
    for kind, one in kinds.items():
        print(f"{name:34} {kind:46} holds {100 * one['holds']:5.1f} %   width {100 * one['width']:5.1f}")
    return {"missing": round(sum(one.missing for one in held) / trials, 4), "intervals": kinds}


def _kind(held: list[Held], kind: str) -> dict[str, float]:
    width = sum(one.ends[kind][1] - one.ends[kind][0] for one in held) / len(held)
    return {"holds": round(sum(one.held(kind) for one in held) / len(held), 4), "width": round(width, 4)}


if __name__ == "__main__":
    main()
