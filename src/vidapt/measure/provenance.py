"""Where numbers come from: models, data, versions, and how a run was trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vidapt.errors import FormatError
from vidapt.measure.curves import curve
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.logs import LOG, logged_rows, no_step

RUN, RECIPE, CARD = "run.json", "recipe.json", "card.json"
SIMULATOR_OBJECTIVE = "track_state"

SIMULATOR_NOTE = (
    "Part of this run learned from the simulator's own state, which no real footage has. It gives the tower "
    "its eyes, as contrastive pre-training gives them to CLIP."
)


@dataclass(frozen=True, slots=True)
class Curve:
    """A stage of a run, drawn and in words."""

    stage: str
    drawing: Markup
    words: str


def curves(run: Path) -> list[Curve]:
    """The loss of every stage of a run that logged at least two steps.

    Raises:
        FormatError: If a log cannot be read.
    """
    return [found for path in sorted(run.glob(f"*/{LOG}")) if (found := _curve(path)) is not None]


def _curve(path: Path) -> Curve | None:
    rows = list(_logged(path))
    if len(rows) < 2:
        return None
    steps, losses = zip(*rows, strict=True)
    stage = path.parent.parent.name
    words = f"loss {losses[0]:.3g} at step {steps[0]}, {losses[-1]:.3g} at step {steps[-1]}"
    return Curve(stage, curve(steps, losses, f"{stage}: {words}"), words)


def _logged(path: Path) -> Iterator[tuple[int, float]]:
    """Steps and losses; where sets were measured and no step was taken, there is none."""
    for number, row in logged_rows(path):
        if "loss" not in row and any("/" in key for key in row):
            continue
        try:
            yield int(row["step"]), float(row["loss"])
        except (ValueError, KeyError, TypeError) as error:
            raise no_step(path, number, error) from error


def facts(evaluations: Mapping[str, Evaluation], run: Path | None) -> list[tuple[str, str]]:
    """What made the numbers, as pairs of a name and a value."""
    pairs: list[tuple[str, str]] = []
    for label, evaluation in evaluations.items():
        stamp, about = evaluation.header.stamp, evaluation.header.about
        pairs += [
            (f"Model ({label})", f"{evaluation.name}, weights {stamp.get('model')}"),
            (
                f"Data ({label})",
                f"{len(evaluation.verdicts)} questions on {evaluation.clips} clips, {stamp.get('data')}",
            ),
            (f"Measured ({label})", str(about.get("started", ""))),
        ]
    last = list(evaluations.values())[-1]
    pairs.append(("Decoding", _listed(last.header.stamp.get("decoding", {}))))
    pairs.append(("Versions", _listed(last.header.about.get("versions", {}))))
    return pairs + (run_facts(run) if run is not None else [])


def trained_on_a_simulator(run: Path) -> bool:
    """Whether a stage of a run learned from a simulator's state."""
    objectives = (
        stage.get("objective", {}).get("kind") for stage in read_object(run / RECIPE).get("stages", [])
    )
    return SIMULATOR_OBJECTIVE in set(objectives)


def run_facts(run: Path) -> list[tuple[str, str]]:
    """How a run was trained, as pairs of a name and a value."""
    recipe, state = read_object(run / RECIPE), read_object(run / RUN)
    pairs = [
        ("Run", f"{recipe.get('name', run.name)}, recipe {state.get('recipe')}, seed {recipe.get('seed')}")
    ]
    if recipe.get("start"):
        pairs.append(("Started from", Path(str(recipe["start"])).name))
    for stage, result in state.get("stages", {}).items():
        pairs.append((f"Stage {stage}", _listed(result)))
    return pairs


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in values.items()
    )


def read_object(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty if there is no file.

    Raises:
        FormatError: If it holds something else.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(path, "is not a JSON object")
    return value
