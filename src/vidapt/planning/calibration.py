"""How fast a recipe's stages are on this machine: the first steps of each are taken, and thrown away."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidapt.planning.numbers import StagePlan
from vidapt.planning.stage import StagePlanner
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training.outlook import Outlook
from vidapt.training.run import train

Rates = Mapping[str, tuple[float, float]]
"""By the name of a stage: seconds for each operation of its steps, and for each clip that is made ready."""

_WARM = 2
"""Steps that are not counted: the first ones also prepare what later ones reuse."""


def calibrate(
    recipe: Recipe,
    steps: int,
    *,
    device: str,
    workers: int | None,
    report: Reporter,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, tuple[float, float]]:
    """Take some steps of every stage, on clips enough for them.

    Args:
        recipe: What is to be carried out; nothing of it is kept.
        steps: Of each stage, from 4 on.
        device: Where to train.
        workers: Decoding processes.
        report: Shows progress.
        clock: Tells seconds.

    Raises:
        VidaptError: As `training.run.train`.
    """
    watch = _Watch(report, clock)
    short = recipe.model_copy(
        update={"stages": tuple(_short(recipe, stage, steps) for stage in recipe.stages)}
    )
    with tempfile.TemporaryDirectory(prefix="vidapt-plan-") as folder:
        train(short, Path(folder), watch, device=device, workers=workers, look=watch.look)
    return {plan.name: watch.rate(plan) for plan in watch.plans}


def _short(recipe: Recipe, stage: Stage, steps: int) -> Stage:
    """A stage of a few steps, on no more clips of each source than these see."""
    clips = steps * stage.batching.clips
    sources = tuple(
        source.model_copy(update={"limit": min(clips, source.limit or clips)})
        for source in recipe.sources(stage)
    )
    lengths = dict.fromkeys(("epochs", "samples", "tokens", "hours"))
    kept = {name: None for name in lengths if name in type(stage).model_fields}
    return stage.model_copy(update={**kept, "steps": steps, "data": sources, "save_every": steps + 1})


@dataclass
class _Watch:
    """Notes when every step was done.

    Attributes:
        report: Told of all.
        clock: Tells seconds.
        plans: Of the stages.
    """

    report: Reporter
    clock: Callable[[], float]
    plans: list[StagePlan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._times: dict[str, list[tuple[int, float]]] = {}

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """A step, or a clip, is done."""
        self._times.setdefault(task, []).append((done, self.clock()))
        self.report(f"calibrate, {task}", done, total, note)

    def look(self, outlook: Outlook) -> None:
        """Plan what is about to be timed."""
        planner = StagePlanner(outlook.kind, outlook.model, outlook.tokenizer, outlook.recipe.seed, True)
        for name, (index, stage) in outlook.left.items():
            self.plans.append(planner.plan(index, stage, outlook.data[name]))

    def rate(self, plan: StagePlan) -> tuple[float, float]:
        """Seconds for each operation of a stage's steps, and for each clip that is made ready."""
        # The last one is told once it is saved as well, which of many steps few are.
        steps = [when for _, when in self._times[plan.name]][:-1]
        pauses = [after - before for before, after in zip(steps[_WARM - 1 :], steps[_WARM:], strict=False)]
        per_step = sum(pauses) / len(pauses)
        made = self._times.get(f"{plan.name}: read clips", [])
        fresh = [(done, when) for done, when in made if done]
        per_clip = 0.0
        if len(fresh) > 1:
            (first, began), (last, ended) = fresh[0], fresh[-1]
            per_clip = (ended - began) / max(1, last - first)
        return per_step / (plan.flops / plan.steps), per_clip
