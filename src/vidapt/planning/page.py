"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from vidapt.planning.numbers import RecipePlan, StagePlan

HEAD = ["stage", "clips", "samples", "steps", "learns", "tokens a sample", "tokens", "memory", "disk", "time"]


def rows(plan: RecipePlan) -> list[list[str]]:
    """One for each stage, under `HEAD`."""
    return [_row(stage, _time(plan, place)) for place, stage in enumerate(plan.stages)]


def _row(stage: StagePlan, time: str) -> list[str]:
    sample = stage.tokens.sample
    return [
        stage.name,
        f"{stage.clips:,}",
        f"{stage.samples:,}",
        f"{stage.steps:,}",
        f"{count(stage.trained)} of {count(stage.size)}",
        f"{sample.median:,.0f} ({sample.least:,} to {sample.most:,})",
        ("" if stage.tokens.exact else "about ") + count(stage.tokens.total),
        "?" if stage.memory is None else size(stage.memory.total),
        size(stage.disk.total),
        time,
    ]


def summary(plan: RecipePlan) -> str:
    """What makes up the memory, and what all of it takes."""
    lines = [line for stage in plan.stages for line in _memory_lines(stage)]
    if plan.seconds:
        whole = f"in all {duration(sum(plan.seconds))} on {plan.device}"
        lines.append(whole if plan.price is None else f"{whole}, at a price of {plan.price:,.2f}")
    return "\n".join(lines)


def _memory_lines(stage: StagePlan) -> Iterator[str]:
    if stage.memory is None:
        yield f"{stage.name}: {stage.unknown}"
        return
    memory, disk = stage.memory, stage.disk
    yield (
        f"{stage.name}: memory {size(memory.weights)} weights + {size(memory.gradients)} gradients + "
        f"{size(memory.optimizer)} optimizer + {size(memory.activations)} activations "
        f"(logits {size(memory.logits)}); disk {size(disk.cache)} cache + {size(disk.checkpoints)} "
        f"checkpoints + {size(disk.model)} model; "
        f"{stage.flops + stage.fill_flops:.3g} operations"
    )


def brief(plan: RecipePlan, *, timed: bool) -> Iterator[str]:
    """A line for each stage.

    Args:
        plan: The plan.
        timed: Whether its times are those of where it will be carried out.
    """
    for place, stage in enumerate(plan.stages):
        memory = "" if stage.memory is None else f", {size(stage.memory.total)} of memory"
        time = f", roughly {_time(plan, place)}" if timed and plan.seconds else ""
        yield (
            f"plan: {stage.name}: {stage.clips:,} clips, {stage.samples:,} samples, {stage.steps:,} steps, "
            f"{count(stage.trained)} of {count(stage.size)} parameters learn{memory}, "
            f"{size(stage.disk.total)} on disk{time}"
        )


def advice_lines(plan: RecipePlan) -> Iterator[str]:
    """Each piece of advice with its source and its id."""
    for one in plan.advice:
        sort, where = ("stop" if one.error else "advice"), f" {one.stage}:" if one.stage else ""
        yield f"{sort} [{one.id}]{where} {one.text} ({one.source})"


def _time(plan: RecipePlan, place: int) -> str:
    return duration(plan.seconds[place]) if plan.seconds else "?"


def count(number: int) -> str:
    """A number in thousands, millions or billions."""
    for unit, least in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= least:
            return f"{number / least:.3g}{unit}"
    return str(number)


def size(octets: int) -> str:
    """Bytes in a unit in which they are no long number."""
    for unit, least in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if octets >= least:
            return f"{octets / least:.3g} {unit}"
    return f"{octets / 1000:.3g} kB"


def duration(seconds: float) -> str:
    """A time in a unit in which it is no long number."""
    for unit, least in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= least:
            return f"{seconds / least:.3g} {unit}"
    return f"{seconds:.2g} s"
