"""What helps when a dual encoder is aligned to a narrow domain: one change at a time, several seeds.

    vidapt simulate billiards --venue club --clips 1300 --seed 2 --statements 4 --out pool/club
    vidapt simulate billiards --venue home --clips 200 --seed 9 --out pool/home-test
    python benchmarks/studies/alignment.py run [--seeds 0,1,2] [--only NAME ...] [--part 0/2]
    python benchmarks/studies/alignment.py table

`run` trains `recipes/align_billiards.yaml` with each variant's changes and measures every model on clips that
none has learned from. What is finished is not done again, so it can be stopped and several parts can run side
by side. `table` writes the numbers of `docs/studies/alignment.md` between its marks, and the results file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _align_measures import measured
from _align_tables import write_tables

from vidapt.files import write_json
from vidapt.recipe import load_recipe
from vidapt.training.run import train

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "align_billiards.yaml"
STAGE = "stages.0"
TERMS = f"{STAGE}.objective.terms"

GLOBAL: dict[str, Any] = {
    "kind": "contrastive",
    "look_alikes": "positives",
    "duplicate_above": 0.9999,
    "duplicates": "texts",
    "positives": "any",
}
NAIVE: dict[str, Any] = {"kind": "contrastive"}
TOP: dict[str, Any] = {"sparsify": "top_k", "k": 36}
# InfoNCE multiplies cosines by up to 30 here, a margin does not: at a weight of 1 it changed nothing.
HARD: dict[str, Any] = {"kind": "margin", "margin": 0.1, "weight": 20.0}
PENALTIES: dict[str, Any] = {"kind": "collapse"}
GAUGES: dict[str, Any] = {"kind": "collapse", "token_weight": 0.0, "patch_weight": 0.0}
"""Costs nothing and is learned from by nobody, but is logged."""
PLACES: dict[str, dict[str, Any]] = {
    "embedding": {"patches": "embedding", "tokens": "embedding"},
    "encoder": {},
    "projected": {"patches": "projected", "tokens": "projected"},
    "every_layer": {"every_layer": True},
}


def local(**options: Any) -> dict[str, Any]:
    """The local term at half the weight of the global one, as SPARC's smallest."""
    return {"kind": "local_align", "weight": 0.5, **(options or TOP)}


def goal(*terms: dict[str, Any]) -> str:
    """An override that sets the terms; collapse is watched whether or not it is penalised."""
    watched = [] if PENALTIES in terms else [GAUGES]
    return f"{TERMS}={json.dumps([*terms, *watched])}"


def variants() -> dict[str, list[str]]:
    """Changes to the recipe by name; `base` is the global and the local term after the encoder, masked."""
    found = {"base": [goal(GLOBAL, local())], "global_only": [goal(GLOBAL)]}
    for place, options in PLACES.items():
        for mask in (True, False):
            if (place, mask) != ("encoder", True):
                name = place if mask else f"{place}_unmasked"
                found[name] = [goal(GLOBAL, local(**TOP, **options, mask=mask))]
    found["threshold"] = [goal(GLOBAL, local(sparsify="threshold"))]
    found["threshold_high"] = [goal(GLOBAL, local(sparsify="threshold", sigma=0.985))]
    apart = {"across": "batch", "look_alikes": "excluded", "duplicate_above": 0.95}
    found["across_batch"] = [goal(GLOBAL, local(**TOP, **apart))]
    found["penalties"] = [goal(GLOBAL, local(), PENALTIES)]
    found["no_groups"] = [goal(NAIVE, local()), f"{STAGE}.batching.questions=1"]
    found["hard"] = [goal(GLOBAL, local(), HARD)]
    both = [f"{STAGE}.pairs.sentences=true", f"{STAGE}.pairs.falsify=1"]
    found["hard_short"] = [goal(GLOBAL, local(), HARD), *both]
    return found


def run(runs: Path, seeds: Sequence[int], only: Sequence[str], part: tuple[int, int]) -> None:
    """Train and measure what is not there yet, seed by seed."""
    chosen = {name: changes for name, changes in variants().items() if not only or name in only}
    jobs = [(seed, name) for seed in seeds for name in chosen]
    for seed, name in jobs[part[0] :: part[1]]:
        result = runs / "measured" / f"{name}-{seed}.json"
        if result.exists():
            continue
        changes = [*chosen[name], f"seed={seed}", f"name={name}-{seed}"]
        changes += [f"{STAGE}.retrieval={{}}", f"{STAGE}.save_every=1000", f"{STAGE}.cache.keep=frames"]
        recipe = load_recipe(RECIPE, changes)
        folder = train(recipe, runs, _say, resume=(runs / recipe.name / "run.json").exists(), workers=0)
        levels = {"projected", PLACES.get(name.removesuffix("_unmasked"), {}).get("patches", "encoder")}
        write_json(result, measured(folder, ROOT / "pool", sorted(levels), runs / "views"))
        shutil.rmtree(folder / "01-align" / "work" / "tensorboard", ignore_errors=True)


def before(runs: Path) -> None:
    """Measure what all of them start from."""
    result = runs / "measured" / "start-0.json"
    if not result.exists():
        start = load_recipe(RECIPE).start
        assert start is not None
        write_json(result, measured(start, ROOT / "pool", ["encoder", "projected"], runs / "views"))


def _say(task: str, done: int, total: int, note: str = "") -> None:
    if done == total:
        print(f"{task}: {done} {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-alignment")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(variants()))
    parser.add_argument("--part", default="0/1", help="this one of so many parts, such as 0/2")
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs / "measured", list(variants()))
        return
    (given.runs / "measured").mkdir(parents=True, exist_ok=True)
    part, parts = map(int, given.part.split("/"))
    if part == 0:
        before(given.runs)
    run(given.runs, [int(seed) for seed in given.seeds.split(",")], given.only, (part, parts))


if __name__ == "__main__":
    main()
