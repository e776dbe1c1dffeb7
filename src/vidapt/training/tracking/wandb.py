"""Weights & Biases; where WANDB_MODE is not set, it stays offline and writes into the stage's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vidapt.training.tracking.trackers import Tracked

NEEDS = "wandb"


class Part:
    """A run of wandb for each stage; a stage that goes on is a run of the same group."""

    def __init__(self, tracked: Tracked) -> None:
        import wandb

        tracked.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "vidapt"),
            group=tracked.run,
            name=f"{tracked.run}/{tracked.stage}",
            dir=str(tracked.folder),
            config=dict(tracked.recipe),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Write what is pending."""
        self._run.finish()
