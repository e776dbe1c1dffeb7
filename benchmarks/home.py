"""The shipped model on held-out clips of its home venue: accuracy per type, and claims against the log.

    python benchmarks/home.py [--clips 500] [--out scratch/home]

Simulates the clips (a seed no training uses), evaluates with majority, blind and shuffled controls, prints
one JSON line at the end and writes benchmarks/results/home.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _machine import describe
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.models.decoding import Decoding
from vidapt.worlds.billiards import simulate

RESULTS = Path(__file__).parent / "results" / "home.json"
TEST_SEED, TRAIN_SEED = 900, 901


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--model", default="billiards-home")
    parser.add_argument("--out", type=Path, default=Path("scratch/home"))
    parser.add_argument("--no-results", action="store_true", help="print only")
    options = parser.parse_args()
    test, learn = options.out / "test", options.out / "learn"
    simulate(test, clips=options.clips, venue="home", seed=TEST_SEED)
    # Labels alone: the majority answer is learned from clips the model was not measured on.
    simulate(learn, clips=options.clips, venue="home", seed=TRAIN_SEED)
    evaluation = evaluate(
        load(options.model),
        list(open_samples(test / "labels.jsonl")),
        out=options.out / "measured",
        decoding=Decoding(max_new_tokens=128),
        train_samples=list(open_samples(learn / "labels.jsonl")),
        judge=world_judge(test),
        overwrite=True,
    )
    arms = evaluation.to_dict()["arms"]
    result = {
        "clips": evaluation.clips,
        "accuracy": {arm: accuracy(scores) for arm, scores in arms.items() if scores["accuracy"]},
        "claims": {arm: _claims(scores) for arm, scores in arms.items() if scores["claim_types"]},
        "provenance": evaluation.to_dict()["provenance"],
        "machine": describe(),
    }
    if not options.no_results:
        write_json(RESULTS, result)
    print(json.dumps({"accuracy": result["accuracy"]["model"], "claims": result["claims"]["model"]}))


def accuracy(scores: dict[str, Any]) -> dict[str, float]:
    """Share of right answers per question type, and their mean."""
    types = scores["accuracy"]["types"]
    shares = {kind: round(score["accuracy"]["value"], 4) for kind, score in types.items()}
    return {**shares, "mean": round(scores["accuracy"]["macro"]["value"], 4)}


def _claims(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {kind: _rates(rates) for kind, rates in scores["claim_types"].items()}


def _rates(rates: dict[str, Any]) -> dict[str, float]:
    total = rates["total"]
    said = total["supported"] + total["contradicted"] + total["unparsed"]
    return {
        "precision": round(total["supported"] / max(1, said), 4),
        "recall": round(total["recalled"] / max(1, total["salient"]), 4),
        "false_claim_rate": round(total["contradicted"] / max(1, said), 4),
    }


if __name__ == "__main__":
    main()
