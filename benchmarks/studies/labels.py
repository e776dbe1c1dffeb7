"""What labels are worth that are wrong, or that tell what cannot be seen, and what evidence makes of them.

    python benchmarks/studies/labels.py run [--only lies unseen] [--seeds 0,1,2]
    python benchmarks/studies/labels.py table

`lies`: a teacher gives false answers and sentences; `vidapt evidence` and `vidapt clean` look for them, and
students learn from the labels as they are, cleaned, and true. `unseen`: clips stand still from a moment on,
the labels tell what happens behind it, and students learn with every switch of `unsupported`. What is
finished is not done again. `table` writes the numbers of `docs/studies/labels.md` and the results file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _adapt_arms import RATES, SHORT, START
from _adapt_data import prepare
from _label_data import (
    TEXT,
    Row,
    is_shown,
    lying_teacher,
    rows_of,
    sentences,
    shown_until,
    stopped,
    text_of,
    write_rows,
)
from _label_measures import found_of, measure
from _label_tables import write_tables

from vidapt.files import write_json
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.worlds.billiards import load_records

ROOT = Path(__file__).parents[2]

CLIPS, ASKED = 300, 60
"""Of a venue, that are labelled; of its test clips, that students are asked about."""

HOME, CLUB = "home", "club"
LIES = ((HOME, 0.2), (CLUB, 0.2), (HOME, 0.4), (HOME, 0.1))
"""Venues and shares of lies. The start sees nearly all that is asked of it at home, and less of the club."""

MOST = 0.2
"""The share at which students also learn from true labels, and from those without whatever is a lie."""

STEPS = 150
END_S = 1.2
"""When the clips of `unseen` stand still: at 56 % of what their texts tell."""

SWITCHES: dict[str, Any] = {
    "weight": "weight",
    "mask_values": "mask_values",
    "mask_claims": "mask_claims",
    "delete": "delete",
}


def vidapt(*words: str | Path) -> None:
    """Run a command of vidapt's; what it says goes by."""
    subprocess.run([sys.executable, "-m", "vidapt", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def student(runs: Path, name: str, seed: int, labels: Path, unsupported: Any = None) -> Path:
    """Train a student.

    Args:
        runs: Where runs go.
        name: Of this one.
        seed: Of it.
        labels: What it learns from.
        unsupported: What becomes of claims that have no evidence.
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
        "steps": STEPS,
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


def unseen(runs: Path, pool: Path, seed: int) -> None:
    """The question of what cannot be seen."""
    world, test = pool / "stopped", pool / "stopped-test"
    stopped(pool / HOME, world, END_S)
    stopped(pool / "home-test", test, END_S)
    folder = runs / "unseen" / str(seed)
    rows = [
        {**row, "video": str((world / row["video"]).absolute()), "facts": {"type": TEXT}}
        for row in rows_of(pool / HOME, CLIPS)
        if row["facts"]["type"] == TEXT
    ]
    write_rows(folder / "all.jsonl", rows)
    checked = evidence_of(folder / "all.jsonl", seed)
    records = {record.index: record for record in load_records(pool / HOME / "events.jsonl")}
    shown = {index: shown_until(record, END_S) for index, record in records.items()}
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
    for name, (labels, switch) in arms.items():
        result = runs / "measured" / f"unseen_{name}-{seed}.json"
        if not result.exists():
            model = student(runs / "runs", f"unseen_{name}", seed, labels, switch)
            asked = measure(model, test, ASKED, runs / "asking", (TEXT,), until=END_S)
            write_json(result, asked)
            print(f"unseen_{name}-{seed}", flush=True)


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
    order: list[tuple[str, Any]] = [("lies", LIES[0]), ("unseen", None), *(("lies", one) for one in LIES[1:])]
    for name, about in order:
        for seed in seeds if name in only else ():
            if about is None:
                yield lambda runs, pool, seed=seed: unseen(runs, pool, seed)  # type: ignore[misc]
            else:
                yield lambda runs, pool, seed=seed, about=about: lies(runs, pool, seed, *about)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-labels")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-adaptation")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", nargs="*", default=["lies", "unseen"], choices=["lies", "unseen"])
    given = parser.parse_args()
    if given.what == "table":
        write_tables(given.runs)
        return
    prepare(given.pool)
    for job in jobs(given.only, [int(seed) for seed in given.seeds.split(",")]):
        job(given.runs, given.pool)


if __name__ == "__main__":
    main()
