"""`vidapt demo` as a whole, as a new user runs it: seconds, and what adapting changed.

    python benchmarks/demo.py [--out scratch/demo]

Needs an empty folder. Prints one JSON line at the end and writes benchmarks/results/demo.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _machine import describe
from vidapt.files import write_json

RESULTS = Path(__file__).parent / "results" / "demo.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("scratch/demo"))
    out = parser.parse_args().out
    if out.exists():
        sys.exit(f"{out}: exists; a demonstration that goes on would be timed too short")
    started = time.monotonic()
    subprocess.run(
        [str(Path(sys.executable).parent / "vidapt"), "demo", "--out", str(out), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - started
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))
    result = {
        "seconds": round(seconds, 1),
        "before": _scores(found["before"]),
        "after": _scores(found["after"]),
        "machine": describe("torch", "transformers", "av"),
    }
    write_json(RESULTS, result)
    print(json.dumps({key: result[key] for key in ("seconds", "before", "after")}))


def _scores(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Mean over question types of every arm, per type of the model, and false claims."""
    arms = evaluation["arms"]
    means = {arm: round(s["accuracy"]["macro"]["value"], 4) for arm, s in arms.items() if s["accuracy"]}
    types = {kind: round(s["accuracy"]["value"], 4) for kind, s in arms["model"]["accuracy"]["types"].items()}
    claims = arms["model"]["claims"]
    rates = {rate: round(claims[rate]["value"], 4) for rate in ("false_claim_rate", "precision", "recall")}
    return {"mean_accuracy": means, "accuracy": types, **rates}


if __name__ == "__main__":
    main()
