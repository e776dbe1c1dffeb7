"""What a model says of the clips that the study of pruning asks about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidapt.inference.engine import Engine
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.verdicts import BLIND, MODEL
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample


def result(runs: Path, arm: str, seed: int) -> Path:
    """Where the numbers of an arm go."""
    return runs / "measured" / f"{arm}-{seed}.json"


def measured(engine: Engine, asked: Sequence[Sample], out: Path, *, blind: bool) -> dict[str, Any]:
    """Short answers, right or not; claims of texts, as the world judges them; and CPU seconds of a clip.

    Args:
        engine: Who answers.
        asked: Questions about one simulated world.
        out: Folder of the evaluation.
        blind: Whether to ask without the clips, too.
    """
    began = time.process_time()
    found = evaluate(
        engine,
        list(asked),
        out=out,
        decoding=Decoding(max_new_tokens=96),
        controls=("blind",) if blind else (),
        judge=world_judge(Path(asked[0].media[0].path).parents[1]),
        workers=0,
        overwrite=True,
    )
    took = time.process_time() - began
    arms = (MODEL, BLIND) if blind else (MODEL,)
    rows = [
        [v.sample, v.clip.id, v.type, {a: int(bool(v.right(a))) for a in arms}, v.predictions[MODEL]]
        for v in found.verdicts
        if not v.free
    ]
    texts = [{"clip": v.clip.id, **asdict(v.claims[MODEL])} for v in found.verdicts if v.free]
    return {"cpu_seconds": round(took / found.clips, 4), "sets": {"home": rows}, "texts": texts}
