"""A real language model behind the shipped tower: what it says of billiards, and what is left of its English.

    python benchmarks/smollm2.py --run runs/billiards-smollm2 [--clips 100] [--out scratch/smollm2]

The run is that of recipes/billiards-smollm2.yaml, which says how its parts are fetched. Held-out clips of the
home venue are simulated (a seed no training uses) and asked, with majority, blind and shuffled controls.
English is measured before and after on the same texts: perplexity on the help topics that are part of every
Python, and questions of general knowledge, whose answers are checked by a word. Prints one JSON line and
writes benchmarks/results/smollm2.json.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from _machine import describe
from home import TEST_SEED, TRAIN_SEED, accuracy
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.models.decoding import Decoding
from vidapt.worlds.billiards import simulate

RESULTS = Path(__file__).parent / "results" / "smollm2.json"
WINDOW, WINDOWS = 512, 40

FACTS = (
    ("What is the capital of France?", "paris"),
    ("What is the capital of Japan?", "tokyo"),
    ("What is the capital of Italy?", "rome"),
    ("Which planet is known as the red planet?", "mars"),
    ("What is the largest ocean on Earth?", "pacific"),
    ("What gas do plants take in from the air?", "carbon"),
    ("How many days are there in a week?", "seven|7"),
    ("How many months are there in a year?", "twelve|12"),
    ("What is 2 plus 2?", "four|4"),
    ("Who wrote Romeo and Juliet?", "shakespeare"),
    ("What is the opposite of hot?", "cold"),
    ("What is frozen water called?", "ice"),
    ("Which animal is known as man's best friend?", "dog"),
    ("What is the chemical symbol of water?", "h2o|h₂o"),
    ("In which continent is Egypt?", "africa"),
    ("What colour do you get when you mix blue and yellow?", "green"),
    ("What is the tallest mountain in the world?", "everest"),
    ("What do bees make?", "honey"),
    ("Which language is spoken in Brazil?", "portuguese"),
    ("Who painted the Mona Lisa?", "leonardo|vinci"),
)
"""Questions, and what their answers must hold."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/billiards-smollm2"))
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("scratch/smollm2"))
    options = parser.parse_args()
    engine = load(options.run)
    before, after = english(engine, adapters=False), english(engine, adapters=True)
    test, learn = options.out / "test", options.out / "learn"
    simulate(test, clips=options.clips, venue="home", seed=TEST_SEED)
    simulate(learn, clips=500, venue="home", seed=TRAIN_SEED)
    evaluation = evaluate(
        engine,
        list(open_samples(test / "labels.jsonl")),
        out=options.out / "measured",
        decoding=Decoding(max_new_tokens=96),
        train_samples=list(open_samples(learn / "labels.jsonl")),
        judge=world_judge(test),
        overwrite=True,
    )
    told = evaluation.to_dict()
    result = {
        "clips": evaluation.clips,
        "accuracy": {arm: accuracy(scores) for arm, scores in told["arms"].items() if scores["accuracy"]},
        "english": {"before": before, "after": after},
        "training": training(options.run),
        "provenance": told["provenance"],
        "machine": describe(),
    }
    write_json(RESULTS, result)
    print(json.dumps({"accuracy": result["accuracy"], "english": result["english"]}))


def english(engine: Engine, *, adapters: bool) -> dict[str, float]:
    """Perplexity and share of facts told, with the run's adapters, or as the language model came."""
    layers = [m for m in engine.model.language.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(adapters)
    try:
        return {"perplexity": round(perplexity(engine), 3), "facts": round(facts(engine), 3)}
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.inference_mode()
def perplexity(engine: Engine) -> float:
    """Of Python's help topics in windows of so many tokens, each read from its own beginning."""
    text = "\n".join(topics[name] for name in sorted(topics))
    ids = engine.tokenizer(text, add_special_tokens=False).input_ids[: WINDOW * WINDOWS]
    total = 0.0
    for start in range(0, len(ids), WINDOW):
        logits = engine.model.logits(torch.tensor(ids[start : start + WINDOW]), ())
        targets = torch.tensor(ids[start + 1 : start + WINDOW])
        total += float(torch.nn.functional.cross_entropy(logits[:-1], targets, reduction="sum"))
    return math.exp(total / (len(ids) - WINDOWS))


def facts(engine: Engine) -> float:
    """Share of the questions answered, asked without a clip."""
    asked = [((), [question for question, _ in FACTS])]
    (answers,) = engine.answer(asked, Decoding(max_new_tokens=48))
    told = [engine.text(answer).lower() for answer in answers]
    right = [bool(re.search(rf"\b(?:{word})", text)) for (_, word), text in zip(FACTS, told, strict=True)]
    return sum(right) / len(right)


def training(run: Path) -> dict[str, Any]:
    """Steps, seconds and loss of each stage."""
    stages: dict[str, Any] = json.loads((run / "run.json").read_text())["stages"]
    return stages


if __name__ == "__main__":
    main()
