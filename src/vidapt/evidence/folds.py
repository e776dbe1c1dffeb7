"""Models that have not learned from what they are to score: each fold's, trained on all others.

A model that has learned a wrong label finds it likely. So whole groups of clips (a file, a session, nearly
the same frames; see `curation.split`) go to one fold, and a fold is scored by a model that never saw it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.curation.split import homes_of
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.files import exists, write_json
from vidapt.formats import fingerprint
from vidapt.formats.vidapt_jsonl import write
from vidapt.loading import RUN
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter
from vidapt.recipe import DataSource, Recipe, load_recipe
from vidapt.recipe.shipped import recipe_path
from vidapt.training.run import train

RECIPE = "evidence"
"""The shipped recipe by which folds are trained."""

_ABOUT = "folds.json"


@dataclass(frozen=True)
class Folds:
    """How models for scoring are made.

    Attributes:
        start: What each begins with.
        count: How many there are.
        folder: Where labels and runs of the folds go.
        recipe: How they are trained; None is the shipped one. Its `start`, `name` and `data` are replaced.
        overrides: Changes of the recipe, as `vidapt train --set` has them.
        by: What tells sessions, as `curation.split` has it.
        seed: Decides which groups go where.
        device: Where they are trained.
        workers: Decoding processes.
    """

    start: str
    count: int
    folder: Path
    recipe: Path | None = None
    overrides: Sequence[str] = ()
    by: str | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None


def base_recipe(folds: Folds) -> Recipe:
    """The recipe of every fold, but for its name and labels.

    Raises:
        ConfigError: If it makes a model from nothing, or is unsound.
    """
    path = recipe_path(RECIPE) if folds.recipe is None else folds.recipe
    recipe = load_recipe(path, folds.overrides)
    if recipe.start is None:
        raise ConfigError(path, "makes a model from nothing", "give a recipe with a `start`")
    return recipe.model_copy(update={"start": folds.start})


def fold_of(samples: Sequence[Sample], folds: Folds, recipe: Recipe, report: Reporter) -> dict[Clip, int]:
    """The fold of every clip, counted from 1; the same whenever a job goes on.

    Args:
        samples: Each about one clip, whose file is there.
        folds: What is wanted.
        recipe: As `base_recipe` gives it.
        report: Shows progress.

    Raises:
        ConfigError: If there are fewer groups of clips than folds, or the folder is of another job.
    """
    file = folds.folder / _ABOUT
    key = digest([fingerprint(samples), folds.count, folds.by, folds.seed, recipe.settled])
    kept = _kept(file)
    if kept is None:
        ratios = {f"fold{number}": 1.0 for number in range(1, folds.count + 1)}
        homes = homes_of(samples, ratios, by=folds.by, seed=folds.seed, workers=folds.workers, report=report)
        numbers = [int(home.removeprefix("fold")) for home in homes]
        folds.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": key, "folds": numbers})
    else:
        if kept.get("key") != key:
            raise ConfigError(
                folds.folder,
                "holds folds of other labels, or of another recipe",
                "choose another --out, or delete it",
            )
        numbers = list(map(int, kept["folds"]))
    return {sample.media[0]: number for sample, number in zip(samples, numbers, strict=True)}


def trained(
    number: int,
    samples: Sequence[Sample],
    homes: Mapping[Clip, int],
    folds: Folds,
    recipe: Recipe,
    report: Reporter,
) -> Path:
    """The run whose model has not learned from a fold; a finished one is not trained again.

    Args:
        number: Of the fold.
        samples: All rows.
        homes: As `fold_of` gives them.
        folds: How it is trained.
        recipe: As `base_recipe` gives it.
        report: Shows progress.

    Raises:
        VidaptError: As `training.run.train`.
    """
    name = f"fold-{number}"
    runs = folds.folder / "runs"
    if _is_finished(runs / name, len(recipe.stages)):
        return runs / name
    labels = folds.folder / f"{name}.jsonl"
    if not exists(labels):
        write(labels, (replace(one, claims=()) for one in samples if homes[one.media[0]] != number))
    stages = tuple(stage.model_copy(update={"data": ()}) for stage in recipe.stages)
    own = recipe.model_copy(
        update={"name": name, "data": (DataSource(path=labels.absolute()),), "stages": stages}
    )

    def told(task: str, done: int, total: int, note: str = "") -> None:
        report(f"fold {number} of {folds.count}: {task}", done, total, note)

    return train(own, runs, told, resume=True, workers=folds.workers, device=folds.device, track=())


def _kept(file: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(file, f"cannot be read: {error}", "delete its folder to begin anew") from None
    return kept if isinstance(kept, dict) and isinstance(kept.get("folds"), list) else None


def _is_finished(run: Path, stages: int) -> bool:
    try:
        kept = json.loads((run / RUN).read_text(encoding="utf-8"))
        return len(kept["finished"]) == stages
    except (OSError, ValueError, TypeError, KeyError):
        return False
