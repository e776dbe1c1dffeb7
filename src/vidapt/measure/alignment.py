"""What the logs of an alignment run hold: retrieval on both sets, and every term against its chance level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import exists
from vidapt.measure.logs import LOG, logged_rows
from vidapt.measure.provenance import CARD, RUN, read_object
from vidapt.recipe.dual import RetrievalSet
from vidapt.training.align.names import BEST, SWEEP

SETS: tuple[str, ...] = get_args(RetrievalSet)
WAYS = ("to_text", "to_video")
CHANCE, NEAR_CHANCE = "chance", "near_chance"

Row = Mapping[str, Any]
Found = Mapping[str, Mapping[str, float]]
"""Retrieval both ways, as JSON holds it: way to measure to number."""


def mean_recall(found: Found, at: int = 1) -> float:
    """Recall, the mean of both ways."""
    return sum(found[way][f"recall@{at}"] for way in WAYS) / len(WAYS)


@dataclass(frozen=True, slots=True)
class Track:
    """A number over steps; at least one."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"steps": list(self.steps), "values": list(self.values)}


@dataclass(frozen=True)
class SetLog:
    """Retrieval on one set at every checkpoint.

    Attributes:
        steps: When it was measured; increasing.
        found: What was found then.
        best: Place of the checkpoint that is kept as the best by this set.
        clips: How many there are; None if that was not written down.
        texts: The same of texts.
    """

    steps: tuple[int, ...]
    found: tuple[Found, ...]
    best: int
    clips: int | None = None
    texts: int | None = None

    @property
    def recall(self) -> Track:
        """Recall at 1, the mean of both ways."""
        return Track(self.steps, tuple(mean_recall(found) for found in self.found))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        best = {"step": self.steps[self.best], "recall@1": self.recall.values[self.best]}
        return {
            "clips": self.clips,
            "texts": self.texts,
            "recall@1": self.recall.to_dict(),
            "best": best,
            "checkpoints": [
                {"step": step, **found} for step, found in zip(self.steps, self.found, strict=True)
            ],
        }


@dataclass(frozen=True)
class TermLog:
    """A term of the objective.

    Attributes:
        value: What it was.
        chance: What it would be if nothing were learned; None where that is no number.
        gauges: Whatever else it logged.
        near: After how many steps it was told of, and for how many logged steps in a row it had then been
            near chance; empty if it never was for long.
    """

    value: Track
    chance: Track | None
    gauges: Mapping[str, Track]
    near: Track | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "value": self.value.to_dict(),
            CHANCE: self.chance and self.chance.to_dict(),
            "gauges": {name: track.to_dict() for name, track in self.gauges.items()},
            NEAR_CHANCE: self.near and self.near.to_dict(),
        }


@dataclass(frozen=True)
class StageLog:
    """A stage that measured retrieval.

    Attributes:
        name: Of its folder.
        steps: The last that is logged.
        sets: By name.
        terms: By name; further numbers that the objective logged by themselves are among them.
    """

    name: str
    steps: int
    sets: Mapping[str, SetLog]
    terms: Mapping[str, TermLog]

    def warnings(self) -> Iterator[str]:
        """Terms that stayed at chance, in words."""
        for name, term in self.terms.items():
            if term.near is not None:
                still = (
                    "and still was at the end" if term.near.steps[-1] == self.steps else "and left it then"
                )
                yield (
                    f"{self.name}: {name} was near its chance level for {max(term.near.values):.0f} logged "
                    f"steps in a row, last told of at step {term.near.steps[-1]}, {still}"
                )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "stage": self.name,
            "steps": self.steps,
            "retrieval": {name: log.to_dict() for name, log in self.sets.items()},
            "terms": {name: term.to_dict() for name, term in self.terms.items()},
        }


@dataclass(frozen=True)
class Alignment:
    """What is known of an alignment run, of a sweep between two models, or of both.

    Attributes:
        run: The run's folder; None for a sweep alone.
        stages: Those that measured retrieval.
        sweep: What `training.sweep` found, as JSON holds it; None if none was made.
    """

    run: Path | None
    stages: tuple[StageLog, ...]
    sweep: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Of the run, or of the tuned model."""
        if self.run is not None:
            return self.run.resolve().name
        return Path(str((self.sweep or {}).get("tuned", ""))).name

    def warnings(self) -> list[str]:
        """What a reader must not miss."""
        return [line for stage in self.stages for line in stage.warnings()]

    def rows(self) -> list[list[str]]:
        """Stage, set, recall at 1 at first and at last, the best and its step."""
        return [
            [stage.name, words(name), *_ends(log), f"{log.steps[log.best]}"]
            for stage in self.stages
            for name, log in stage.sets.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "run": self.run and str(self.run),
            "stages": [stage.to_dict() for stage in self.stages],
            "warnings": self.warnings(),
            "sweep": self.sweep,
        }


def read_alignment(run: Path) -> Alignment:
    """What a run logged.

    Raises:
        CheckpointError: If the folder is no run's.
        ConfigError: If no stage measured retrieval.
        FormatError: If a log or a card cannot be read.
    """
    if not exists(run / RUN):
        raise CheckpointError(run, f"holds no {RUN}", "give a run's folder")
    found = alignment_of(run, read_object(run / SWEEP) or None)
    if not found.stages:
        logs = len(list(run.glob(f"*/{LOG}")))
        wanted = " or ".join(f"`{name}/...`" for name in SETS)
        raise ConfigError(
            run,
            f"none of its {logs} stages' logs holds {wanted}: no retrieval was measured",
            "give an alignment stage `retrieval: {in_domain: LABELS, general: LABELS}` and train again",
        )
    return found


def alignment_of(run: Path | None, sweep: Mapping[str, Any] | None) -> Alignment:
    """What a run logged, if there is one, with a sweep.

    Raises:
        FormatError: If a log or a card cannot be read.
    """
    logs = [] if run is None else sorted(run.glob(f"*/{LOG}"))
    stages = (_stage(path) for path in logs)
    return Alignment(run, tuple(stage for stage in stages if stage is not None), sweep)


def words(name: str) -> str:
    """A name for people."""
    return name.replace("_", " ")


def _ends(log: SetLog) -> list[str]:
    recall = log.recall.values
    return [f"{100 * value:.1f} %" for value in (recall[0], recall[-1], recall[log.best])]


def _stage(path: Path) -> StageLog | None:
    """The stage of a log; None if it measured no retrieval."""
    rows = [row for _, row in logged_rows(path)]
    folder = path.parent.parent
    sets = {name: log for name in SETS if (log := _set(rows, name, folder / f"{BEST}{name}" / CARD))}
    if not sets:
        return None
    return StageLog(folder.name, int(rows[-1]["step"]), sets, _terms(rows))


def _set(rows: Sequence[Row], name: str, card: Path) -> SetLog | None:
    """What was found on a set; the best is what lies in its folder, or else follows from the log."""
    measured = [row for row in rows if all(f"{name}/{way}/recall@1" in row for way in WAYS)]
    if not measured:
        return None
    steps = tuple(int(row["step"]) for row in measured)
    found = tuple({way: _under(row, f"{name}/{way}/") for way in WAYS} for row in measured)
    kept = read_object(card)
    best = steps.index(kept["step"]) if kept.get("step") in steps else _best(found)
    sizes = kept.get("retrieval", {}).get("to_text", {})
    return SetLog(steps, found, best, sizes.get("queries"), sizes.get("candidates"))


def _best(found: Sequence[Found]) -> int:
    """Place of the highest recall at 1; of equal ones the lowest mean rank, then the first."""
    ranks = [sum(one[way]["mean_rank"] for way in WAYS) for one in found]
    return max(range(len(found)), key=lambda place: (mean_recall(found[place]), -ranks[place]))


def _terms(rows: Sequence[Row]) -> dict[str, TermLog]:
    """Terms are the numbers without a slash in their names; what belongs to a term stands behind one."""
    names = dict.fromkeys(
        key for row in rows for key in row if "/" not in key and key not in ("step", "loss")
    )
    return {name: _term(rows, name) for name in names}


def _term(rows: Sequence[Row], name: str) -> TermLog:
    below = dict.fromkeys(key for row in rows for key in _under(row, f"{name}/"))
    tracks = {key: _track(rows, f"{name}/{key}") for key in below}
    chance, near = tracks.pop(CHANCE, None), tracks.pop(NEAR_CHANCE, None)
    return TermLog(_track(rows, name), chance, tracks, near)


def _track(rows: Sequence[Row], key: str) -> Track:
    steps, values = zip(*((int(row["step"]), float(row[key])) for row in rows if key in row), strict=True)
    return Track(steps, values)


def _under(row: Row, prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): float(value) for key, value in row.items() if key.startswith(prefix)}
