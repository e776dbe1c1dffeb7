"""Which stage's model is kept: what a later one gains is measured on clips that nothing was learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidapt.adapting.bench import Bench
from vidapt.adapting.decisions import Decisions
from vidapt.inference.engine import Engine
from vidapt.measure.compare import compare
from vidapt.measure.evaluation import Evaluation
from vidapt.metrics.intervals import Interval


@dataclass(frozen=True)
class Verdict:
    """Whether a later stage is kept.

    Attributes:
        later: Whether it is.
        why: The reason, with its numbers.
    """

    later: bool
    why: str


def keep_best(
    models: dict[str, Path],
    open_engine: Callable[[Path], Engine],
    bench: Bench,
    out: Path,
    decisions: Decisions,
    *,
    large: bool,
) -> Path:
    """Measure the models of all stages on held-out clips, and keep one.

    Args:
        models: Folders of the stages' models, in their order.
        open_engine: Opens one.
        bench: Measures it.
        out: Folder of the measurements.
        decisions: Where it is told.
        large: Whether the model knew much before.

    Returns:
        The folder of the model that is kept.
    """
    (kept, folder), *others = models.items()
    if not others:
        decisions.make("kept", kept, "it is the only stage")
        return folder
    best = bench.measure(open_engine(folder), out / kept, f"choose: {kept}", ())
    for name, other in others:
        measured = bench.measure(open_engine(other), out / name, f"choose: {name}", ())
        verdict = judged(best, measured, large=large)
        loser = kept if verdict.later else name
        if verdict.later:
            kept, folder, best = name, other, measured
        decisions.make("kept", f"{kept}, not {loser}", verdict.why)
    return folder


def judged(before: Evaluation, after: Evaluation, *, large: bool) -> Verdict:
    """Whether a later stage is better, by paired differences with intervals over clips.

    Where clips are too few to tell, a small model's later stage is kept if it seems better; one of a model
    that knew much before is not, since every stage makes it forget some of that.
    """
    gain, measure = _gain(before, after)
    told = (
        f"on {after.clips} held-out clips {measure} changes by {100 * gain.value:+.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )
    if gain.excludes_zero():
        return Verdict(gain.value > 0, told)
    if large:
        return Verdict(False, f"{told}, which is no sure gain, and a tuned tower forgets what it knew")
    seems = "seems better" if gain.value > 0 else "seems no better"
    return Verdict(gain.value > 0, f"{told}: not sure with so few clips, but it {seems}")


def _gain(before: Evaluation, after: Evaluation) -> tuple[Interval, str]:
    """What is compared: right answers, or, where there are none, true claims, or the wording."""
    found = compare(before, after)
    if found.accuracy is not None:
        return found.accuracy.macro, "the mean accuracy of question types"
    if found.claims is not None and found.claims.recall is not None:
        return found.claims.recall, "the share of what is told"
    if found.overlap is not None:
        return found.overlap, "the overlap with the reference texts (ROUGE-L)"
    return Interval(0.0, 0.0, 0.0), "nothing that could be measured"
