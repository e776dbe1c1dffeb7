"""Losses of all trainers on the same samples from the same weights: how near they stay to one another."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import _llamafactory_peer as factory
import _trainer_peer as peer
from _accounted import accounted
from _our_arms import BOTH, recipe
from _packing_work import Work
from vidapt.progress import silent
from vidapt.training.run import train

STEPS, RATE = 6, 1e-3

_OPTIMIZER = {
    "rates": {"connector": RATE, "language": RATE},
    "betas": (0.9, 0.999),
    "warmup": 0.0,
    "decay": "constant",
}
"""The Trainer's AdamW, whose weight decay is 0 and whose longest gradient 1, as ours are."""


def compare(work: Work, adapter: Path, python: Path | None) -> dict[str, Any]:
    """Losses by trainer, and the largest difference of another's from ours, relative to ours.

    Args:
        work: Its first clip's questions are every step.
        adapter: What all begin with.
        python: LLaMA-Factory's, if it is there.
    """
    found = {"transformers Trainer": peer.losses(work, adapter, STEPS, RATE)}
    if python is not None:
        found["LLaMA-Factory"] = _factorys(work, adapter, python)
    own = _ours(work, adapter)
    gaps = {
        name: max(abs(other - mine) / mine for other, mine in zip(losses, own, strict=True))
        for name, losses in found.items()
    }
    return {"vidapt": own, **found, "max_rel_diff": gaps, "rate": RATE}


def _ours(work: Work, adapter: Path) -> list[float]:
    """Every question of a clip in one step, behind one copy of it, whose features are kept."""
    plan = recipe(
        work,
        BOTH,
        STEPS,
        questions_per_step=work.sizes.questions,
        clips=1,
        optimizer=_OPTIMIZER,
        start=adapter,
    )
    with tempfile.TemporaryDirectory() as runs, accounted() as taken:
        train(plan, Path(runs), silent, workers=0)
    return taken.losses


def _factorys(work: Work, adapter: Path, python: Path) -> list[float]:
    done = factory.run(
        python,
        work,
        work.rows()[: work.sizes.questions],
        STEPS,
        adapter=adapter,
        batch=peer.BATCH,
        accumulation=work.sizes.questions // peer.BATCH,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        logging_strategy="steps",
        logging_steps=1,
    )
    return done.losses
