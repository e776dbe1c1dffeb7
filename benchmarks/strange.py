"""How well a start adapts to domains it has never seen: 200 clips each, a few minutes of one CPU core.

    python benchmarks/strange.py [--start billiards-home] [--recipe recipes/small-domain.yaml]
        [--only plant ...] [--set stages.0.epochs=4 ...] [--out scratch/strange] [--name NAME]

The domains are a venue of the conveyor and one of the shapes that no start learned from, and another pool
hall. For each: simulate, adapt, measure 120 held-out clips beside the majority answer, and count CPU seconds.
Prints one JSON line per domain and keeps all under NAME in benchmarks/results/strange.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _machine import describe
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.models.decoding import Decoding
from vidapt.progress import silent
from vidapt.recipe import load_recipe
from vidapt.training.run import train
from vidapt.worlds.known import find_world

RESULTS = Path(__file__).parent / "results" / "strange.json"
DOMAINS = {"plant": "conveyor", "pond": "shapes", "club": "billiards"}
CLIPS, TEST_CLIPS, TRAIN_SEED, TEST_SEED = 200, 120, 2, 9
TEXTS = ("inventory", "trajectory", "caption")
RECIPE = Path(__file__).parents[1] / "recipes" / "small-domain.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", default="billiards-home")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--only", nargs="+", choices=DOMAINS, default=list(DOMAINS))
    parser.add_argument("--set", dest="changes", nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("scratch/strange"))
    parser.add_argument("--name", help="of the results; by default the start's")
    options = parser.parse_args()
    name = options.name or Path(options.start).name
    for venue in options.only:
        found = adapt(venue, name, options)
        print(json.dumps({"venue": venue, **found}), flush=True)
        keep(name, venue, found)


def adapt(venue: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Simulate a venue, adapt a start to it, and measure."""
    data, test = options.out / "data" / venue, options.out / "data" / f"{venue}-test"
    world = find_world(DOMAINS[venue])
    world.simulate(data, clips=CLIPS, venue=venue, seed=TRAIN_SEED, workers=1)
    world.simulate(test, clips=TEST_CLIPS, venue=venue, seed=TEST_SEED, workers=1)
    labels = (data / "labels.jsonl").resolve()
    given = {"data": str(labels), "start": options.start, "name": f"{name}-{venue}"}
    recipe = load_recipe(options.recipe, options.changes, given=given)
    begun = _cpu_s()
    run = train(recipe, options.out / "runs", silent, resume=True, workers=1)
    spent = _cpu_s() - begun
    evaluation = evaluate(
        load(run),
        list(open_samples(test / "labels.jsonl")),
        out=options.out / "measured" / f"{name}-{venue}",
        decoding=Decoding(max_new_tokens=128),
        train_samples=list(open_samples(labels)),
        controls=(),
        judge=world_judge(test),
        workers=1,
        overwrite=True,
    )
    arms = evaluation.to_dict()["arms"]
    model, majority = (arms[arm]["accuracy"] for arm in ("model", "majority"))
    types = {
        kind: [_percent(score["accuracy"]["value"]), _percent(majority["types"][kind]["accuracy"]["value"])]
        for kind, score in model["types"].items()
        if kind not in TEXTS
    }
    return {
        "accuracy": _percent(model["macro"]["value"]),
        "majority": _percent(majority["macro"]["value"]),
        "cpu_s": round(spent, 1),
        "types": types,
    }


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _percent(share: float) -> float:
    return round(100 * share, 1)


def keep(name: str, venue: str, found: dict[str, Any]) -> None:
    """Put a result among those that are kept."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(name, {})[venue] = found
    write_json(RESULTS, results | {"machine": describe("torch")})


if __name__ == "__main__":
    main()
