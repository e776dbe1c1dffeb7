"""Arms of the study of adaptation trained and asked, each once; what is finished is not done again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _adapt_arms import SHORT, START, Arm
from _adapt_data import OWN, POOLED, SIZES, STILLS, WORDS

from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.ablate.result import seconds_of
from vidapt.measure.ablate.sharing import begin_with_finished
from vidapt.measure.asking import Asked
from vidapt.measure.evaluate import evaluate
from vidapt.measure.varied import KeptTokens, ScaledEngine
from vidapt.measure.verdicts import MODEL
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.training.state import read_state

SETS = {
    "club": ("club-test", WORDS, 60),
    "home": ("home-test", WORDS, 30),
    "own": ("club-test", OWN, 60),
    "stills": ("club-test", STILLS, 60),
    "sizes": ("club-test", SIZES, 60),
}
"""What is asked: world, labels and clips."""

DECODING = Decoding(max_new_tokens=24)


class Bench:
    """Trains and measures in one folder, whose runs share a cache.

    Args:
        runs: The folder; results go to `measured`.
        pool: Data.
    """

    def __init__(self, runs: Path, pool: Path) -> None:
        self._runs, self._pool = runs, pool
        self._sets: dict[str, list[Sample]] = {}

    def result(self, name: str, seed: int) -> Path:
        """Where the numbers of an arm go."""
        return self._runs / "measured" / f"{name}-{seed}.json"

    def do(self, arm: Arm, seed: int, others: Sequence[Arm]) -> None:
        """Train and measure an arm unless that is done.

        Args:
            arm: It.
            seed: Of its run.
            others: Arms whose finished stages it may begin with.
        """
        if all(self.result(name, seed).exists() for name in arm.names):
            return
        recipe, told = arm.recipe(self._pool, seed), {}
        if recipe is not None:
            shared = [one for other in others if other != arm and (one := other.recipe(self._pool, seed))]
            told = self._trained(recipe, shared)
        engine = load(START if recipe is None else self._runs / recipe.name)
        work = self._runs / "asking" / f"{arm.name}-{seed}"
        for name, asked in _engines(engine, arm):
            if not self.result(name, seed).exists():
                found = {
                    which: self._asked(asked[which], which, work / which, blind=arm.blind)
                    for which in arm.sets
                }
                write_json(self.result(name, seed), {**told, "sets": found})
            shutil.rmtree(work, ignore_errors=True)

    def _trained(self, recipe: Recipe, others: Sequence[Recipe]) -> dict[str, Any]:
        reused = begin_with_finished(recipe, self._runs, others)
        began = time.process_time()
        train(recipe, self._runs, _quiet, resume=True, workers=0, track=())
        state = read_state(self._runs / recipe.name, recipe, resume=True)
        assert state is not None
        cpu = time.process_time() - began
        return {"reused": reused, "cpu_seconds": round(cpu, 1), "seconds": seconds_of(state.stages)}

    def _asked(self, engine: Asked, which: str, out: Path, *, blind: bool) -> list[list[Any]]:
        found = evaluate(
            engine,
            self._set(which),
            out=out,
            decoding=DECODING,
            controls=("blind",) if blind else (),
            train_samples=self._learned(which),
            workers=0,
            overwrite=True,
        )
        return [
            [
                v.sample,
                v.clip.id,
                v.type,
                {a: int(bool(v.right(a))) for a in v.predictions},
                v.predictions[MODEL],
            ]
            for v in found.verdicts
        ]

    def _set(self, which: str) -> list[Sample]:
        """Questions of a set that is measured."""
        if which not in self._sets:
            world, file, clips = SETS[which]
            self._sets[which] = first_clips(self._pool / world / file, clips)
        return self._sets[which]

    def _learned(self, which: str) -> list[Sample]:
        """Labels that the majority answer to a set's questions is learned from."""
        world, file = ("home" if which == "home" else "club"), (OWN if which == "own" else WORDS)
        if (name := f"{world}/{file}") not in self._sets:
            self._sets[name] = first_clips(self._pool / world / file, POOLED)
        return self._sets[name]


def first_clips(labels: Path, clips: int) -> list[Sample]:
    """Short questions about the first clips of a label file."""
    short = [one for one in open_samples(labels) if one.facts["type"] in SHORT]
    wanted = set(list(dict.fromkeys(one.media[0].id for one in short))[:clips])
    return [one for one in short if one.media[0].id in wanted]


def _engines(engine: Any, arm: Arm) -> Iterator[tuple[str, Mapping[str, Asked]]]:
    """What is asked about each set, under every name of an arm; a clip is seen once for all scales."""
    if not arm.scales:
        yield arm.name, dict.fromkeys(arm.sets, engine)
        return
    kept = {which: KeptTokens() for which in arm.sets}
    for name, scale in zip(arm.names, arm.scales, strict=True):
        yield name, {which: ScaledEngine(engine, scale, kept[which]) for which in arm.sets}


def read_measured(runs: Path, name: str) -> dict[int, dict[str, Any]]:
    """What was measured of an arm, by seed."""
    files = sorted((runs / "measured").glob(f"{name}-[0-9].json"))
    return {int(file.stem[-1]): json.loads(file.read_text(encoding="utf-8")) for file in files}


def _quiet(task: str, done: int, total: int, note: str = "") -> None:
    if done == total:
        print(f"{task}: {done} {note}", flush=True)
