"""Runs that lie in a folder: where each stands, and in what two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vidapt.errors import ConfigError
from vidapt.loading import RUN
from vidapt.locks import owner_of
from vidapt.measure.logs import LOG
from vidapt.training.checkpoint import checkpoints, step_of
from vidapt.training.state import RECIPE

State = Literal["running", "finished", "stopped", "damaged"]


@dataclass(frozen=True)
class StageState:
    """Where a stage stands.

    Attributes:
        name: Of its folder.
        finished: Whether it is.
        steps: That are done and saved.
        loss: The running mean at its end, or the last one that was logged.
        seconds: Spent in its steps; None while it is under way.
        left_out: Steps that were left out because something was not finite.
        measured: The last of everything else that was logged, such as what was measured.
    """

    name: str
    finished: bool
    steps: int
    loss: float | None
    seconds: float | None
    left_out: int
    measured: Mapping[str, float]


@dataclass(frozen=True)
class RunListed:
    """Where a run stands.

    Attributes:
        name: Of its folder.
        path: The folder.
        state: What it does.
        start: What it began with; empty where it made a model.
        stages: Those that have begun.
        planned: How many stages it has in all.
        model_bytes: Size of its newest model; 0 before there is one.
        changed: When it was last written to.
        damage: What cannot be read of it.
    """

    name: str
    path: Path
    state: State
    start: str
    stages: Sequence[StageState]
    planned: int
    model_bytes: int
    changed: str
    damage: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class RunsCompared:
    """In what two runs differ.

    Attributes:
        recipe: By place in the recipe, what each says; None where one says nothing.
        numbers: By stage and number, each one's.
    """

    recipe: Mapping[str, tuple[Any, Any]]
    numbers: Mapping[str, tuple[float | None, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"recipe": {k: list(v) for k, v in self.recipe.items()}, "numbers": dict(self.numbers)}


def list_runs(folder: Path) -> list[RunListed]:
    """The runs in a folder, those that changed last first. What is damaged is told, and raises nothing.

    Raises:
        ConfigError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(folder, "there is no such folder", "give the folder that `train --runs` was given")
    runs = [path for path in folder.iterdir() if path.is_dir() and _is_run(path)]
    return sorted(map(describe_run, runs), key=lambda run: run.changed, reverse=True)


def describe_run(path: Path) -> RunListed:
    """Where a run stands.

    Raises:
        ConfigError: If the folder is none.
    """
    if not _is_run(path):
        raise ConfigError(path, "is no run", "give a folder that `vidapt train` made")
    recipe, no_recipe = _read(path / RECIPE)
    kept, no_state = _read(path / RUN)
    finished = kept.get("finished") or []
    planned = recipe.get("stages") or []
    names = [f"{number:02d}-{stage.get('name')}" for number, stage in enumerate(planned, 1)]
    stages = [_stage(path / name, name in finished, kept) for name in names if (path / name).is_dir()]
    models = sorted(path.glob("*-*/model/model.safetensors"))
    whole = bool(names) and len(finished) == len(names)
    damage = "; ".join(one for one in (no_recipe, no_state) if one)
    state: State = "running" if owner_of(path) is not None else "finished" if whole else "stopped"
    return RunListed(
        name=path.name,
        path=path,
        state="damaged" if damage and state != "running" else state,
        start=str(recipe.get("start") or ""),
        stages=stages,
        planned=len(names),
        model_bytes=models[-1].stat().st_size if models else 0,
        changed=_changed(path),
        damage=damage,
    )


def compare_runs(one: Path, other: Path) -> RunsCompared:
    """In what two runs differ.

    Raises:
        ConfigError: If a folder is no run.
    """
    runs = describe_run(one), describe_run(other)
    said = [dict(_leaves(_read(path / RECIPE)[0])) for path in (one, other)]
    places = [place for place in dict.fromkeys((*said[0], *said[1])) if place != "name"]
    found = [dict(_numbers(run)) for run in runs]
    names = dict.fromkeys((*found[0], *found[1]))
    return RunsCompared(
        {place: pair for place in places if (pair := (said[0].get(place), said[1].get(place)))[0] != pair[1]},
        {name: (found[0].get(name), found[1].get(name)) for name in names},
    )


def _is_run(path: Path) -> bool:
    return (path / RUN).is_file() or (path / RECIPE).is_file()


def _stage(folder: Path, finished: bool, kept: Mapping[str, Any]) -> StageState:
    result = (kept.get("stages") or {}).get(folder.name) or {}
    logged = _last_logged(folder / LOG)
    saved = [step_of(path) for path in checkpoints(folder / "work")]
    own = {name: value for name, value in logged.items() if "/" in name and not name.startswith("rate/")}
    return StageState(
        name=folder.name,
        finished=finished,
        steps=int(result.get("steps") or (saved[-1] if saved else 0)),
        loss=result.get("loss", logged.get("loss")),
        seconds=result.get("seconds"),
        left_out=int(result.get("skipped") or 0),
        measured=own,
    )


def _last_logged(path: Path) -> dict[str, float]:
    """The newest value of every number that was logged; lines that are cut off or damaged are passed over."""
    found: dict[str, float] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                found |= {str(name): float(value) for name, value in row.items()}
            except (ValueError, TypeError, AttributeError):
                continue
    return found


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A JSON object, and what is wrong with its file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"{path.name} is missing"
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{path.name} cannot be read: {type(error).__name__}"
    return (found, "") if isinstance(found, dict) else ({}, f"{path.name} holds no object")


def _changed(path: Path) -> str:
    times = [one.stat().st_mtime for one in (path / RUN, path / RECIPE, *path.glob("*/work")) if one.exists()]
    newest = datetime.fromtimestamp(max(times), UTC)
    return newest.isoformat(timespec="seconds")


def _numbers(run: RunListed) -> Iterator[tuple[str, float]]:
    for stage in run.stages:
        yield f"{stage.name} steps", float(stage.steps)
        for name, value in {"loss": stage.loss, "seconds": stage.seconds, **stage.measured}.items():
            if value is not None:
                yield f"{stage.name} {name}", float(value)
    yield "model MB", round(run.model_bytes / 1e6, 3)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a recipe and its place."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    if not inner:
        yield place, value
    for key, one in inner:
        yield from _leaves(one, f"{place}.{key}" if place else str(key))
