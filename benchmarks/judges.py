"""Whether what is reported of a judged model holds the truth although the judge is unwell.

python benchmarks/judges.py [--trials 500] [--again] [--out FILE]

In each trial a model's true accuracy is drawn, 200 answers about clips of 50 films are judged, and the
judge refuses, mumbles, stalls and errs; see `_judge_faults.py`. With `--again` it is also measured how long
it takes to evaluate 500 clips and four models under two protocols once more from verdicts that were kept.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
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


CLIPS, KINDS = 500, ("caption", "open_qa")
MODELS = {"a": 50, "b": 150, "c": 250, "d": 350}
"""Models, and how many of their answers are wrong."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true")
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
    if given.again:
        told["again"] = again()
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told))


def again() -> dict[str, Any]:
    """Seconds of `vidapt eval --offline`, once a pretended judge has given all verdicts."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit"))
    from judge_tools import answers, judge_file, judging, made_test, measure, right
    from served_tools import serving

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = made_test(folder, CLIPS)
        models = [answers(folder, name, right(CLIPS, wrong)) for name, wrong in MODELS.items()]
        with serving(judging) as fake:
            judge = judge_file(folder, fake, endpoint={"concurrency": 4, "retries": 3}, frozen=50)
            measure(models, data, folder / "out", judge, *KINDS)
            replies = len(fake.heard)
        command = [sys.executable, "-m", "vidapt", "eval", *models, "--data", data, "--out", folder / "again"]
        command += ["--judge", judge, "--offline", "--verdicts", folder / "out/verdicts.jsonl"]
        began = time.monotonic()
        subprocess.run([*command, *(f"--protocol={kind}" for kind in KINDS)], check=True, capture_output=True)
        seconds = time.monotonic() - began
        numbers = [json.loads((folder / name / "metrics.json").read_text()) for name in ("out", "again")]
        first, second = ({kind: one["protocols"][kind]["models"] for kind in KINDS} for one in numbers)
        assert first == second
    told = f"{CLIPS} clips, {len(MODELS)} models, {' and '.join(KINDS)}"
    print(f"{told}, from verdicts that were kept: {seconds:.1f} s")
    return {
        "clips": CLIPS,
        "models": len(MODELS),
        "protocols": KINDS,
        "replies": replies,
        "seconds": round(seconds, 1),
    }


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
