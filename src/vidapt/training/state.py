"""Where a run stands: what its folder keeps beside the stages' own, and how it is gone on with."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import write_json
from vidapt.loading import RUN
from vidapt.models.folder import CARD
from vidapt.recipe import Recipe, Stage
from vidapt.training.begin import LOAD_REPORT
from vidapt.training.footprints import FOOTAGE
from vidapt.training.forks import Fork, Kept, forked
from vidapt.training.manifest import checksums, differences

RECIPE = "recipe.json"
_BEGUN = (RECIPE, LOAD_REPORT, FOOTAGE)
"""What a run's folder may hold of an attempt that was refused before work began."""


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder in its run."""
    return f"{index + 1:02d}-{stage.name}"


@dataclass
class RunState:
    """What `run.json` holds.

    Attributes:
        recipe: Fingerprint of the recipe the run began with, which all its cards tell.
        settled: Fingerprint of the one in `recipe.json`, its paths as they are used; None in older runs.
        data: Fingerprint of the labels; None in runs that did not yet write it down.
        finished: Folders of the finished stages, in order.
        stages: Steps, seconds and loss of each.
        models: Checksums of the files of each one's model.
        forks: What was changed while a stage was under way.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    recipe: str
    settled: str | None = None
    data: str | None = None
    finished: list[str] = field(default_factory=list)
    stages: dict[str, Any] = field(default_factory=dict)
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    forks: list[dict[str, Any]] = field(default_factory=list)

    def write(self, run: Path) -> None:
        """Write it into a run's folder."""
        kept = asdict(self)
        # What most runs have nothing to say of.
        write_json(run / RUN, {k: v for k, v in kept.items() if v or k != "forks"})

    def finish(self, name: str, result: Mapping[str, Any], run: Path) -> None:
        """Note that a stage is finished, what came of it, and what its model's files hold."""
        self.stages[name] = dict(result)
        self.models[name] = _model_files(run / name / "model")
        self.finished.append(name)

    def forks_of(self, name: str) -> list[Fork]:
        """What was changed while a stage was under way."""
        return [fork for fork in (Fork(**kept) for kept in self.forks) if fork.stage == name]


_KEPT = TypeAdapter(RunState)


def has_finished(run: Path) -> bool:
    """Whether a stage of a run is finished, with which it goes on; a damaged run is looked at later."""
    try:
        return bool(json.loads((run / RUN).read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def read_state(run: Path, recipe: Recipe, *, resume: bool) -> RunState | None:
    """Where a run stands; None if its folder is not there or was only just begun.

    Raises:
        ConfigError: If something else is there, or it is not to be resumed.
        CheckpointError: If `run.json` is damaged.
    """
    file = run / RUN
    if not file.exists():
        if run.exists() and any(
            path.name not in _BEGUN and not path.name.startswith(".") for path in run.iterdir()
        ):
            raise ConfigError(run, "exists and is not a run", "choose another `name` or folder")
        return None
    try:
        state = _KEPT.validate_json(file.read_bytes())
        state.forks = [asdict(Fork(**fork)) for fork in state.forks]
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            file, f"is damaged: {error}", "delete the run's folder and train again"
        ) from error
    if not resume:
        raise ConfigError(run, "this run exists", "add --resume to go on with it, or choose another `name`")
    return state


def gone_on(
    state: RunState, run: Path, recipe: Recipe, named: Collection[str]
) -> tuple[Recipe, dict[str, list[Any]]]:
    """The recipe that a run goes on with, and what it changes; see `forks.forked`.

    Raises:
        ConfigError: If the recipe is not the run's, but for what may be changed and is asked for by name.
        CheckpointError: If the run was changed before, and its own recipe cannot be read.
    """
    known = bool({recipe.fingerprint, recipe.settled} & {state.recipe, state.settled})
    kept = _own_recipe(run)
    if kept is None:
        if state.forks:
            raise CheckpointError(run / RECIPE, "is damaged", "put it back from a copy, or train anew")
        if not known:
            raise ConfigError(run, "was made by another version of the recipe", "give every --set as before")
        return recipe, {}
    if known and not named and not state.forks:
        return recipe, {}
    forks = [Fork(**fork) for fork in state.forks]
    return forked(recipe, Kept(run, kept, len(state.finished), forks), named, known=known)


def note_forks(
    state: RunState, recipe: Recipe, changed: Mapping[str, list[Any]], done: int
) -> Iterable[Fork]:
    """Write down what is changed from here on; gives what there is to tell.

    Args:
        state: Of the run.
        recipe: As it is now.
        changed: By place, what it was and what it becomes.
        done: Steps of the stage under way that are done.
    """
    under_way = len(state.finished)
    current = stage_folder(under_way, recipe.stages[under_way])
    # A damaged checkpoint may have led back behind where an earlier change was made.
    forks = [Fork(**fork) for fork in state.forks]
    forks = [replace(f, step=min(f.step, done)) if f.stage == current else f for f in forks]
    new = []
    for index in range(under_way, len(recipe.stages)):
        prefix = f"stages.{index}."
        here = {place: values for place, values in changed.items() if place.startswith(prefix)}
        if here:
            name = stage_folder(index, recipe.stages[index])
            new.append(Fork(name, done if name == current else 0, here))
    state.forks = [asdict(fork) for fork in (*forks, *new)]
    return new


def check_model(state: RunState, run: Path) -> None:
    """See that the model the next stage begins with is what the last one left.

    Raises:
        CheckpointError: Naming the files that are not.
    """
    name = state.finished[-1]
    folder = run / name / "model"
    wrong = differences(state.models.get(name, {}), folder, extra=False)
    if wrong:
        raise CheckpointError(
            folder,
            f"is not what its stage left: {', '.join(wrong)}",
            "put it back from a copy, or train anew",
        )


def _model_files(folder: Path) -> dict[str, str]:
    # Nothing is computed from the card.
    return {name: found for name, found in checksums(folder).items() if name != CARD}


def _own_recipe(run: Path) -> Recipe | None:
    try:
        return Recipe.model_validate_json((run / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError):
        return None
