"""A plan of a whole recipe."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidapt.errors import BudgetError
from vidapt.planning.advice import Asked, advise, known
from vidapt.planning.devices import ASSUMED, Device, find_device
from vidapt.planning.numbers import RecipePlan, StagePlan
from vidapt.planning.stage import StagePlanner
from vidapt.progress import Reporter, silent
from vidapt.training.outlook import Outlook


@dataclass(frozen=True)
class Means:
    """What there is to carry a recipe out.

    Attributes:
        device: Name of what each process computes on; see `devices`.
        devices: How many of them.
        utilisation: Share of a device's highest speed that is reached.
        price: Of one device for an hour.
        runs: Folder of runs, whose disk is looked at.
        rates: Seconds for each operation of a stage and each clip that is made ready, by the stage's name;
            where they were measured (`calibration`).
    """

    device: str = "cpu"
    devices: int = 1
    utilisation: float = ASSUMED
    price: float | None = None
    runs: Path = Path("runs")
    rates: Mapping[str, tuple[float, float]] | None = None


def plan_recipe(
    outlook: Outlook,
    means: Means,
    *,
    every_step: bool = False,
    ignore: Collection[str] = (),
    report: Reporter = silent,
) -> RecipePlan:
    """Plan what is left of a recipe.

    Args:
        outlook: The recipe before its work.
        means: What it is carried out with.
        every_step: Count the tokens of every step, and not only of some.
        ignore: Ids of advice that is not wanted.
        report: Shows progress.

    Raises:
        ConfigError: If an id of `ignore` is unknown, or nothing is known of the device.
    """
    unwanted = known(ignore)
    device = find_device(means.device)
    planner = StagePlanner(outlook.kind, outlook.model, outlook.tokenizer, outlook.recipe.seed, every_step)
    stages: list[StagePlan] = []
    for done, (name, (index, stage)) in enumerate(outlook.left.items(), 1):
        stages.append(planner.plan(index, stage, outlook.data[name]))
        report("plan", done, len(outlook.left), stage.name)
    seconds = [
        _seconds(plan, stage.precision, device, means)
        for plan, (_, stage) in zip(stages, outlook.left.values(), strict=True)
    ]
    timed = all(plan.memory is not None for plan in stages)
    asked = Asked(outlook, stages, device, _free(means.runs))
    return RecipePlan(
        recipe=outlook.recipe.name,
        stages=stages,
        seconds=seconds if timed else (),
        device=_described(device, means),
        price=sum(seconds) / 3600 * means.devices * means.price
        if timed and means.price is not None
        else None,
        advice=[one for one in advise(asked) if one.id not in unwanted],
    )


def refuse(plan: RecipePlan) -> None:
    """See that a recipe can be carried out as it is planned.

    Raises:
        BudgetError: Listing what stands against it.
    """
    if plan.errors:
        told = "\n  ".join(f"{one.id}: {one.text}" for one in plan.errors)
        ids = " ".join(f"--ignore {one.id}" for one in plan.errors)
        raise BudgetError(f"plan of {plan.recipe}", told, f"change the recipe; or {ids}, to try all the same")


def _seconds(plan: StagePlan, precision: str, device: Device, means: Means) -> float:
    rates = means.rates or {}
    if plan.name in rates:
        per_flop, per_clip = rates[plan.name]
        return plan.flops * per_flop + plan.clips * per_clip
    speed = device.speed(precision) * means.utilisation * means.devices
    return (plan.flops + plan.fill_flops) / speed


def _described(device: Device, means: Means) -> str:
    name = device.name if means.devices == 1 else f"{means.devices} x {device.name}"
    measured = "measured over some steps" if means.rates else f"at {means.utilisation:.0%} of its speed"
    return f"{name}, {measured}"


def _free(runs: Path) -> int:
    """Bytes free on the disk of a folder that need not be there yet."""
    for folder in (runs, *runs.absolute().parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return shutil.disk_usage(Path.cwd()).free


def total_disk(stages: Sequence[StagePlan]) -> int:
    """Bytes that all stages take together: checkpoints go when a stage ends, models and caches stay."""
    kept = sum(stage.disk.cache + stage.disk.model for stage in stages)
    return kept + max((stage.disk.checkpoints for stage in stages), default=0)
