"""A run that goes on with changed values: which may be changed, and where they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.recipe import Recipe, Stage
from vidapt.recipe.stage import LENGTHS

CHANGEABLE = (
    "optimizer.rates",
    "optimizer.warmup",
    "optimizer.warmup_floor",
    "optimizer.decay",
    "optimizer.floor",
    "optimizer.cooldown",
    "optimizer.clip_norm",
    *LENGTHS,
    "guard",
    "save_every",
    "save_minutes",
    "batching.at_once",
    "batching.ahead",
    "batching.memory",
    "recompute",
)
"""What of a stage may be changed while it is under way: how fast and how long it learns, when it saves, and
how much memory it takes."""

_Where = tuple[str, ...]
_ABSENT = object()


@dataclass(frozen=True)
class Fork:
    """Values that were changed while a stage was under way.

    Attributes:
        stage: Its folder.
        step: Steps that were done before.
        changed: By place in the recipe, what it was and what it became.
    """

    stage: str
    step: int
    changed: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Kept:
    """A run that is to go on.

    Attributes:
        run: Its folder.
        recipe: What it carries out.
        finished: How many of its stages are.
        forks: What was changed so far.
    """

    run: Path
    recipe: Recipe
    finished: int
    forks: Sequence[Fork]


def forked(
    given: Recipe, kept: Kept, named: Collection[str], *, known: bool
) -> tuple[Recipe, dict[str, list[Any]]]:
    """The recipe that a run goes on with, and what it changes.

    A value is changed only where this is asked for by name. One that was changed before stays as it became,
    also where the recipe is given as it was at first.

    Args:
        given: The recipe as it is given now.
        kept: The run.
        named: Places that are to be changed, such as `stages.0.optimizer.rates.language`.
        known: Whether `given` is, as it was written, the one the run began with.

    Raises:
        ConfigError: Naming what may not be changed, or is not among `named`, and what may be.
    """
    before, now = dict(_leaves(_plain(kept.recipe))), dict(_leaves(_plain(given)))
    asked = [_place(name, len(given.stages)) for name in named]
    changed: dict[str, list[Any]] = {}
    back: dict[_Where, Any] = {}
    refused: list[str] = []
    for where in sorted(before.keys() | now.keys()):
        old, new = before.get(where, _ABSENT), now.get(where, _ABSENT)
        if old == new:
            continue
        place = ".".join(where)
        if not _changeable(where):
            refused += [] if known else [place]
        elif any(where[: len(one)] == one for one in asked):
            if int(where[1]) < kept.finished:
                raise ConfigError(place, "belongs to a stage that is finished", "change a later one")
            changed[place] = [old, new]
        elif known or _was(place, new, kept.forks):
            back[where] = old
        else:
            refused.append(place)
    if refused:
        # A mapping that was empty, or became so, is told by what is in it on the other side.
        inner = [place for place in refused if not any(one.startswith(f"{place}.") for one in refused)]
        raise _refusal(kept.run, inner)
    return _with(given, back), changed


def _refusal(run: Path, places: Sequence[str]) -> ConfigError:
    listed = ", ".join(places[:8]) + (f" and {len(places) - 8} more" if len(places) > 8 else "")
    return ConfigError(
        run,
        f"was made by another version of the recipe, which differs in {listed}",
        f"use {run / 'recipe.json'}, give every --set as before, or choose another `name`; "
        f"named by --set, a stage's {', '.join(CHANGEABLE)} may be changed",
    )


def _plain(recipe: Recipe) -> dict[str, Any]:
    # Without defaults, as in its fingerprint; those of what may be changed are needed to tell of it.
    plain = recipe.model_dump(mode="json", exclude_defaults=True)
    for written, stage in zip(plain["stages"], recipe.stages, strict=True):
        written |= _changeables(stage)
    return plain


def _changeables(stage: Stage) -> dict[str, Any]:
    whole = stage.model_dump(mode="json")
    fields = {name.partition(".")[0] for name in CHANGEABLE}
    return {name: whole[name] for name in fields}


def _leaves(value: Any, where: _Where = ()) -> Iterator[tuple[_Where, Any]]:
    """Every plain value and its place; an empty mapping or list is one."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    if not inner:
        yield where, value
    for key, one in inner:
        yield from _leaves(one, (*where, str(key)))


def _changeable(where: _Where) -> bool:
    inside = where[2:] if where[:1] == ("stages",) else ()
    return any(inside[: len(one)] == one for one in (tuple(name.split(".")) for name in CHANGEABLE))


def _place(name: str, stages: int) -> _Where:
    where = tuple(name.split("."))
    if where[0] == "stages" and len(where) > 1 and where[1].startswith("-"):
        where = ("stages", str(int(where[1]) + stages), *where[2:])
    return where


def _was(place: str, value: Any, forks: Sequence[Fork]) -> bool:
    """Whether a value was once what a recipe said, before a fork changed it."""
    return any(place in fork.changed and fork.changed[place][0] == value for fork in forks)


def _with(recipe: Recipe, values: Mapping[_Where, Any]) -> Recipe:
    """The recipe with other values at some places of its stages."""
    stages = list(recipe.stages)
    for (_, index, *inside), value in values.items():
        stages[int(index)] = _copy(stages[int(index)], inside, value)
    for stage in stages:
        if len(stage.lengths) != 1:
            raise ConfigError(
                f"stage {stage.name}",
                f"has not one of {', '.join(LENGTHS)}",
                "set one of them and null the others",
            )
    return recipe.model_copy(update={"stages": tuple(stages)})


def _copy(model: Any, inside: Sequence[str], value: Any) -> Any:
    first, *rest = inside
    return model.model_copy(update={first: _copy(getattr(model, first), rest, value) if rest else value})
