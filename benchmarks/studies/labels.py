"""What labels are worth that are wrong, or that tell what cannot be seen, and what evidence makes of them.

    python benchmarks/studies/labels.py run [--only lies unseen coarse slow] [--seeds 0,1,2]
    python benchmarks/studies/labels.py table

`lies`: a teacher gives false answers and sentences; `vidapt evidence` and `vidapt clean` look for them, and
students learn from the labels as they are, cleaned, and true. `unseen`, `coarse` and `slow`: clips stand
still from a moment on, or their resolution or frame rate is lowered; the labels tell what cannot be seen any
more, and students learn with every switch of `unsupported`. What is finished is not done again. `table`
writes the numbers of `docs/studies/labels.md` and the results file; where runs are not all there, what was
written before stays as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _adapt_arms import RATES, SHORT, START
from _adapt_data import prepare_worlds
from _label_data import (
    TEXT,
    Row,
    is_shown,
    lying_teacher,
    sentences,
    text_of,
    texts_of,
    write_rows,
)
from _label_measures import found_of, measure
from _label_tables import write_tables
from _label_visible import (
    FOOTAGE,
    OTHERS,
    Footage,
    Shown,
    film,
    film_others,
    read_shown,
    shown_by_log,
    shown_to,
    write_shown,
)

from vidapt.files import write_json
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train

ROOT = Path(__file__).parents[2]

CLIPS, ASKED = 300, 60
"""Of a venue, that are labelled; of its test clips, that students are asked about."""

HOME, CLUB = "home", "club"
LIES = ((HOME, 0.2), (CLUB, 0.2), (HOME, 0.4), (HOME, 0.1))
"""Venues and shares of lies. The start sees nearly all that is asked of it at home, and less of the club."""

MOST = 0.2
"""The share at which students also learn from true labels, and from those without whatever is a lie."""

STEPS = 150
SWITCHES: dict[str, Any] = {
    "weight": "weight",
    "mask_values": "mask_values",
    "mask_claims": "mask_claims",
    "delete": "delete",
}


def vidapt(*words: str | Path) -> None:
    """Run a command of vidapt's; what it says goes by."""
    subprocess.run([sys.executable, "-m", "vidapt", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def student(
    runs: Path, name: str, seed: int, labels: Path, unsupported: Any = None, *, steps: int = STEPS
) -> Path:
    """Train a student.

    Args:
        runs: Where runs go.
        name: Of this one.
        seed: Of it.
        labels: What it learns from.
        unsupported: What becomes of claims that have no evidence.
        steps: Of training.
    """
    source: dict[str, Any] = {"path": str(labels)}
    if unsupported is not None:
        source["unsupported"] = unsupported
    stage = {
        "name": "adapt",
        "data": [source],
        "train": {"towers": "frozen", "connector": "full", "language": "full"},
        "batching": {"clips": 4, "questions": 8},
        "cache": {"dtype": "float16"},
        "optimizer": {"rates": RATES, "weight_decay": 0.03, "warmup": 0.1},
        "steps": steps,
        "save_every": 1000,
    }
    told = {"name": f"{name}-{seed}", "start": START, "seed": seed, "stages": [stage]}
    return train(Recipe.model_validate(told), runs, silent, resume=True, workers=0, track=())


def evidence_of(labels: Path, seed: int) -> Path:
    """Labels with their claims, each scored by a model that has not learned from its clip."""
    checked = labels.with_name("checked.jsonl")
    if not checked.exists():
        vidapt(
            *("evidence", labels, "--start", START, "--folds", "2", "--seed", str(seed)),
            *("--out", checked, "--workers", "0"),
        )
    return checked


def lies(runs: Path, pool: Path, seed: int, venue: str, share: float) -> None:
    """The question of the lying teacher."""
    percent = round(100 * share)
    folder = runs / "lies" / f"{venue}-{percent}-{seed}"
    taught = lying_teacher(pool / venue, CLIPS, share, seed)
    for name, rows in (("dirty", taught.rows), ("true", taught.true), ("without", taught.without)):
        write_rows(folder / f"{name}.jsonl", rows)
    began = time.monotonic()
    checked, clean = evidence_of(folder / "dirty.jsonl", seed), folder / "clean.jsonl"
    if not clean.exists():
        vidapt("clean", checked, "--out", clean, "--only", "unsupported")
        write_json(folder / "found.json", found_of(checked, taught.lies, time.monotonic() - began))
    if venue != HOME:
        return
    arms = {f"dirty_{percent}": "dirty", f"cleaned_{percent}": "clean"}
    if share == MOST:
        arms |= {"true": "true", "without_lies": "without"}
    for name, labels in arms.items():
        result = runs / "measured" / f"{name}-{seed}.json"
        if not result.exists():
            model = student(runs / "runs", name, seed, folder / f"{labels}.jsonl")
            write_json(result, measure(model, pool / "home-test", ASKED, runs / "asking", (*SHORT, TEXT)))
            print(f"{name}-{seed}", flush=True)


def hidden(runs: Path, pool: Path, seed: int, footage: Footage) -> None:
    """The question of what cannot be seen in one kind of footage."""
    world, test = pool / footage.folder, pool / f"{footage.folder}-test"
    film(pool / HOME, world, footage.change)
    film(pool / "home-test", test, footage.change)
    shown, shown_in_test = shown_of(runs, pool, footage)
    folder = runs / footage.name / str(seed)
    rows = texts_of(world, CLIPS)
    write_rows(folder / "all.jsonl", rows)
    checked = evidence_of(folder / "all.jsonl", seed)
    truth = {
        row["id"]: [
            not is_shown(one, shown[int(Path(row["video"]).stem)]) for one in sentences(row["answer"])
        ]
        for row in rows
    }
    found = found_of(checked, truth, 0.0)
    write_json(folder / "found.json", found)
    write_rows(folder / "oracle.jsonl", _without(rows, truth))
    write_rows(folder / "random.jsonl", _without(rows, _drawn(found, truth, seed)))
    arms: dict[str, tuple[Path, Any]] = {
        "none": (folder / "all.jsonl", None),
        "random": (folder / "random.jsonl", None),
        **{name: (checked, switch) for name, switch in SWITCHES.items()},
        "oracle": (folder / "oracle.jsonl", None),
    }
    for arm, (labels, switch) in arms.items():
        name = f"{footage.name}_{arm}"
        result = runs / "measured" / f"{name}-{seed}.json"
        if not result.exists():
            model = student(runs / "runs", name, seed, labels, switch)
            asked = measure(model, test, ASKED, runs / "asking", (TEXT,), shown=shown_in_test)
            write_json(result, asked)
            print(f"{name}-{seed}", flush=True)


def shown_of(runs: Path, pool: Path, footage: Footage) -> tuple[Shown, Shown]:
    """What can be seen of the clips that are learned from, and of those that students are asked about."""
    worlds = {footage.folder: CLIPS, f"{footage.folder}-test": ASKED}
    if footage.until_s is not None:
        seen = [shown_by_log(pool / name, footage.until_s) for name in worlds]
        return seen[0], seen[1]
    found = []
    for name, clips in worlds.items():
        file = runs / footage.name / f"{name}.json"
        if not file.exists():
            write_shown(file, shown_to(references(runs, pool, footage), pool / name, clips))
        found.append(read_shown(file))
    return found[0], found[1]


def references(runs: Path, pool: Path, footage: Footage) -> list[Path]:
    """Students that have learned from true texts of other clips of the same footage, and of more of them."""
    world = pool / f"{footage.folder}-other"
    film(pool / "home-other", world, footage.change)
    labels = runs / footage.name / "other.jsonl"
    write_rows(labels, texts_of(world, OTHERS))
    name = f"{footage.name}_reference"
    return [student(runs / "runs", name, seed, labels, steps=2 * STEPS) for seed in (100, 101)]


def _without(rows: list[Row], gone: Mapping[str, list[bool]]) -> list[Row]:
    """Rows without some of their sentences; those of which nothing is left are left out."""
    left = [
        (
            row,
            [
                one
                for one, is_gone in zip(sentences(row["answer"]), gone[row["id"]], strict=True)
                if not is_gone
            ],
        )
        for row in rows
    ]
    return [{**row, "answer": text_of(said)} for row, said in left if said]


def _drawn(found: Mapping[str, Any], truth: Mapping[str, list[bool]], seed: int) -> dict[str, list[bool]]:
    """As many sentences, drawn at random, as evidence does not support."""
    import numpy as np

    places = [(name, at) for name, sentences in truth.items() for at in range(len(sentences))]
    flagged = sum(unit["verdict"] in ("unseen", "contradicted") for unit in found["units"])
    drawn = np.random.default_rng([seed, 7]).permutation(len(places))[:flagged]
    gone = {places[at] for at in drawn}
    return {name: [(name, at) in gone for at in range(len(given))] for name, given in truth.items()}


def jobs(only: list[str], seeds: list[int]) -> Iterator[Callable[[Path, Path], None]]:
    """What is to be done, what matters most first."""
    footage = [(name, partial(hidden, footage=one)) for name, one in FOOTAGE.items()]
    told = [("lies", partial(lies, venue=venue, share=share)) for venue, share in LIES]
    for name, job in (told[0], *footage, *told[1:]):
        for seed in seeds if name in only else ():
            yield partial(job, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-labels")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-adaptation")
    parser.add_argument("--seeds", default="0,1,2")
    questions = ["lies", *FOOTAGE]
    parser.add_argument("--only", nargs="*", default=questions, choices=questions)
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs)
        return
    prepare_worlds(given.pool, (HOME, f"{HOME}-test", *([CLUB] if "lies" in given.only else ())))
    film_others(given.pool)
    for job in jobs(given.only, [int(seed) for seed in given.seeds.split(",")]):
        job(given.runs, given.pool)


if __name__ == "__main__":
    main()
