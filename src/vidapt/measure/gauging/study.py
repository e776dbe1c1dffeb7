"""Whether a gauge says anything of the result that comes later: over checkpoints of several runs.

The result is what a checkpoint answers on other questions, or what it answers once it was trained on by one
and the same short recipe. A gauge that does not go with it is to be retired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.measure.command import Asking, evaluate_model
from vidapt.measure.gauging.gauge import Gauged, GaugeSet, gauge
from vidapt.measure.provenance import RUN, read_object
from vidapt.metrics.intervals import Interval
from vidapt.metrics.ranks import spearman, spearman_interval
from vidapt.progress import Reporter, silent

LEAST = 0.6
"""Correlation below which a gauge is to be retired."""

LEAST_CHECKPOINTS = 4
HEAD = ("gauge", "checkpoints", "Spearman", "95 % interval", "within runs", "so")


@dataclass(frozen=True)
class Point:
    """A checkpoint.

    Attributes:
        model: Its folder.
        run: What it is of.
        gauges: By name.
        result: Mean accuracy over types of the later questions.
    """

    model: str
    run: str
    gauges: Mapping[str, float]
    result: float


@dataclass(frozen=True)
class Related:
    """What a gauge says.

    Attributes:
        gauge: Its name.
        checkpoints: Of how many it is known.
        correlation: Of ranks, over all of them; None where one of both does not vary.
        within: Mean of the same within each run; None likewise.
    """

    gauge: str
    checkpoints: int
    correlation: Interval | None
    within: float | None

    @property
    def words(self) -> str:
        """What is to become of it; one that falls where results rise is as good."""
        found = self.correlation
        if found is None:
            return "does not vary"
        if abs(found.value) < LEAST:
            return "retire"
        return "keep" if found.excludes_zero() else "too few to tell"

    def row(self) -> list[str]:
        """Cells under `HEAD`."""
        found = self.correlation
        numbers = (
            ["-", "-"] if found is None else [f"{found.value:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}"]
        )
        within = "-" if self.within is None else f"{self.within:+.2f}"
        return [self.gauge, str(self.checkpoints), *numbers, within, self.words]


@dataclass(frozen=True)
class Study:
    """Gauges beside results.

    Attributes:
        points: The checkpoints.
        related: By gauge.
    """

    points: Sequence[Point]
    related: Sequence[Related]

    def rows(self) -> list[list[str]]:
        """Cells under `HEAD`."""
        return [one.row() for one in self.related]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        related = [{**asdict(one), "words": one.words} for one in self.related]
        return {"points": [asdict(one) for one in self.points], "related": related, "least": LEAST}


def study(
    models: Sequence[str | Path],
    wanted: GaugeSet,
    results: Mapping[str, str | Path],
    asking: Asking,
    out: Path,
    report: Reporter = silent,
) -> Study:
    """Gauge checkpoints and relate that to what they, or what was made of them, answer.

    What was measured before is not measured again.

    Args:
        models: Checkpoints, such as the `model` folders of a run's stages.
        wanted: What they are gauged on.
        results: Of a checkpoint, the model whose answers are its result; itself where it is missing.
        asking: What that one is asked.
        out: Folder.
        report: Shows progress.

    Raises:
        ConfigError: If there are fewer than four checkpoints.
        VidaptError: If one cannot be used.
    """
    if len(models) < LEAST_CHECKPOINTS:
        told = f"{len(models)} checkpoints cannot be ranked"
        raise ConfigError("MODEL", told, f"give {LEAST_CHECKPOINTS} or more, of several runs")
    points = []
    for number, model in enumerate(map(str, models)):
        folder = out / f"{number:03d}-{digest(model, 8)}"
        found = _gauged(model, wanted, folder / "gauges.json", report)
        evaluation = evaluate_model(results.get(model, model), asking, folder / "result")
        accuracy = evaluation.arms["model"].accuracy
        if accuracy is None:
            raise ConfigError(asking.data, "no question has a short answer", "results are accuracies")
        points.append(Point(model, _run(Path(model)), found.gauges, accuracy.macro.value))
    done = Study(points, related(points))
    write_json(out / "gauges.json", done.to_dict())
    return done


def _run(model: Path) -> str:
    """Name of the run that a model is of; of a folder on its own, that of the one around it."""
    around = model.absolute().parents
    return next((folder for folder in around if (folder / RUN).is_file()), around[0]).name


def related(points: Sequence[Point]) -> list[Related]:
    """What each gauge says; the closest first."""
    names = dict.fromkeys(name for point in points for name in point.gauges)
    found = [_related(name, [point for point in points if name in point.gauges]) for name in names]
    return sorted(found, key=lambda one: -abs(one.correlation.value) if one.correlation else 1.0)


def _related(name: str, points: Sequence[Point]) -> Related:
    values, results = [point.gauges[name] for point in points], [point.result for point in points]
    runs = dict.fromkeys(point.run for point in points)
    within = [
        found
        for run in runs
        if (
            found := spearman(
                [point.gauges[name] for point in points if point.run == run],
                [point.result for point in points if point.run == run],
            )
        )
        is not None
    ]
    interval = spearman_interval(values, results, [point.run for point in points])
    return Related(name, len(points), interval, sum(within) / len(within) if within else None)


def _gauged(model: str, wanted: GaugeSet, path: Path, report: Reporter) -> Gauged:
    stamp = digest([model, str(wanted.data), [one.id for one in wanted.samples], wanted.clips, wanted.side])
    kept = read_object(path) if path.exists() else {}
    if kept.get("stamp") == stamp:
        return Gauged(**{**kept["gauged"]})
    found = gauge(model, wanted, report)
    write_json(path, {"stamp": stamp, "gauged": found.to_dict()})
    return found
