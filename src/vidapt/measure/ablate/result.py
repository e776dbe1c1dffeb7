"""What arms came to: scores, gains with intervals, and what stages earned for their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vidapt.measure.ablate.arms import Arm
from vidapt.measure.gains import PerQuestion, gained
from vidapt.measure.sections import ends_of, percent_of, points
from vidapt.metrics.intervals import Interval, mean_interval

HEAD = ["arm", "score", "95 % interval", "seeds", "against the recipe as it is", "seconds"]
STAGES = ["stage", "points it adds", "seconds it takes", "points a minute", "earned its cost"]


@dataclass(frozen=True)
class ArmResult:
    """An arm.

    Attributes:
        label: For people.
        change: `base`, `drop` or `set`.
        what: The stage it lacks, or the setting it has.
        score: Of all seeds' answers, clips resampled.
        seeds: Score of each.
        gain: Less the score of the recipe as it is, question by question.
        seconds: Of training, the mean over seeds.
        runs: Names of its runs.
        reused: Stages that were not trained for it, since another run had trained them.
    """

    label: str
    change: str
    what: str
    score: Interval
    seeds: tuple[float, ...]
    gain: Interval
    seconds: float
    runs: tuple[str, ...]
    reused: int


@dataclass(frozen=True)
class StageWorth:
    """What a stage adds for what it takes.

    Attributes:
        stage: Its name.
        adds: Score of the recipe as it is, less that of the recipe without the stage.
        seconds: That it takes; what other stages take less or more without it is counted in.
    """

    stage: str
    adds: Interval
    seconds: float

    @property
    def per_minute(self) -> float | None:
        """Gain per minute of training; None where it takes no time."""
        return 60 * self.adds.value / self.seconds if self.seconds > 0 else None

    @property
    def verdict(self) -> str:
        """Whether it earned its cost."""
        if not self.adds.excludes_zero():
            return "not shown"
        return "yes" if self.adds.value > 0 else "no: it does harm"


@dataclass(frozen=True)
class Ablation:
    """All arms, the recipe as it is first.

    Attributes:
        recipe: Its name.
        kind: What is scored: accuracy, or overlap.
        questions: How many each run was asked.
        clips: About so many.
        budget: Of every stage's length.
        arms: In the order they were asked for.
        notes: What a reader must know.
    """

    recipe: str
    kind: str
    questions: int
    clips: int
    budget: float
    arms: tuple[ArmResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def stages(self) -> list[StageWorth]:
        """Those that were left out, the most gain for its time first."""
        base = self.arms[0]
        found = [
            StageWorth(arm.what, _turned(arm.gain), base.seconds - arm.seconds)
            for arm in self.arms
            if arm.change == "drop"
        ]
        return sorted(found, key=lambda one: one.per_minute or 0.0, reverse=True)

    def rows(self) -> list[list[str]]:
        """A row of `HEAD` for each arm."""
        return [
            [
                arm.label,
                percent_of(arm.score),
                ends_of(arm.score),
                ", ".join(f"{100 * value:.1f}" for value in arm.seeds),
                points(arm.gain) if arm.change != "base" else "",
                f"{arm.seconds:.1f}",
            ]
            for arm in self.arms
        ]

    def stage_rows(self) -> list[list[str]]:
        """A row of `STAGES` for each stage that was left out."""
        return [
            [
                one.stage,
                points(one.adds),
                f"{one.seconds:.1f}",
                "-" if one.per_minute is None else f"{100 * one.per_minute:+.2f}".replace("-", "−"),
                one.verdict,
            ]
            for one in self.stages
        ]

    def sentence(self) -> str:
        """The outcome in a sentence."""
        said = [
            f"without {one.stage} the score changes by {points(_turned(one.adds))} points"
            for one in self.stages
        ]
        said += [
            f"{arm.what} changes it by {points(arm.gain)} points" for arm in self.arms if arm.change == "set"
        ]
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "recipe": self.recipe,
            "score": self.kind,
            "questions": self.questions,
            "clips": self.clips,
            "budget": self.budget,
            "arms": [asdict(arm) for arm in self.arms],
            "stages": [
                {**asdict(one), "per_minute": one.per_minute, "earned": one.verdict} for one in self.stages
            ],
            "notes": list(self.notes),
        }


def result_of(
    arm: Arm,
    answers: Sequence[PerQuestion],
    base: Sequence[PerQuestion],
    seconds: Sequence[float],
    runs: Sequence[str],
    reused: int,
) -> ArmResult:
    """An arm's result.

    Args:
        arm: It.
        answers: Of its runs, seed by seed.
        base: The same of the recipe as it is.
        seconds: Of training, seed by seed.
        runs: Names.
        reused: Stages it was spared.
    """
    mine = _pooled(answers)
    return ArmResult(
        label=arm.label,
        change=arm.change,
        what=arm.what,
        score=mean_interval(mine.values, mine.clips),
        seeds=tuple(sum(one.values) / len(one.values) for one in answers),
        gain=gained(_pooled(base), mine),
        seconds=sum(seconds) / len(seconds),
        runs=tuple(runs),
        reused=reused,
    )


def _pooled(answers: Sequence[PerQuestion]) -> PerQuestion:
    """Answers of all seeds; those about a clip are resampled together, whatever the seed."""
    return PerQuestion(
        answers[0].kind,
        tuple(f"{seed}/{sample}" for seed, one in enumerate(answers) for sample in one.samples),
        tuple(value for one in answers for value in one.values),
        tuple(clip for one in answers for clip in one.clips),
    )


def _turned(gain: Interval) -> Interval:
    return Interval(-gain.value, -gain.high, -gain.low, gain.level)


def seconds_of(stages: Mapping[str, Any]) -> float:
    """Seconds in the steps of a run's stages, as `run.json` has them."""
    return sum(float(one.get("seconds", 0.0)) for one in stages.values())
