"""Which part of which source a part of a new model begins with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.hub import Lack
from vidapt.loading._settle import WEIGHTS, FieldError, settled, turned
from vidapt.loading._sources import Source, find_source
from vidapt.models.assign import parameters_on_meta
from vidapt.recipe import DualBlueprint, Spec, Weights

_PIXELS = ("mean", "std")
"""Choices that do not depend on what a tower is read for."""


@dataclass(frozen=True)
class Taken:
    """A part that begins with another one's weights.

    Attributes:
        part: Its name in the new model, with which its tensors' names begin.
        theirs: Its name in the source.
        source: Where it comes from.
        begins: Names within the part of what the source lacks, which begins at random.
        left: Beginnings of names within the source's part that are not read, and why.
        also: What comes along although it lies elsewhere: names in the new model, and in the source.
    """

    part: str
    theirs: str
    source: Source
    begins: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)


class Sources:
    """The sources of one recipe, each looked at once.

    Args:
        accept: What a dual encoder may lack.
        seed: Of what it lacks.
    """

    def __init__(self, accept: Collection[Lack], seed: int) -> None:
        self._accept, self._seed = accept, seed
        self._found: dict[str, Source] = {}

    def of(self, weights: Any) -> tuple[Source, str | None]:
        """A source, and which part of it is asked for.

        Args:
            weights: As a recipe has it.

        Raises:
            CheckpointError: As `find_source`.
            ConfigError: As `find_source`.
            FieldError: If it is not written as one.
        """
        try:
            asked = weights if isinstance(weights, Weights) else Weights.model_validate(weights)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise FieldError(WEIGHTS, reason, "write a name, or {from: NAME, part: PART}") from error
        if asked.source not in self._found:
            self._found[asked.source] = find_source(asked.source, self._accept, self._seed)
        return self._found[asked.source], asked.part


def take_tower(
    spec: Spec,
    name: str,
    place: tuple[int, int],
    sources: Sources,
    taken: list[Taken],
    *,
    pooled: bool = False,
) -> Spec:
    """A tower as data, once it is known whose weights it begins with; as it is, if with none.

    Args:
        spec: As a recipe has it.
        name: In the new model.
        place: Its index among the new model's towers, and their number.
        sources: Finds them.
        taken: What is taken is added here.
        pooled: Whether the new model pools what it sees, as a dual encoder does.

    Raises:
        FieldError: If there is no such tower, or it cannot be read as the recipe says.
        CheckpointError: As `find_source`.
        ConfigError: As `find_source`.
    """
    if WEIGHTS not in spec:
        return spec
    source, part = sources.of(spec[WEIGHTS])
    theirs, found = _tower_of(source, part, spec.get("kind"), *place)
    if not pooled and isinstance(source.whole, DualBlueprint):
        found = _by_default(found)
    how = turned(found, spec)
    tower = settled("towers", spec, how.seen_as(found, spec))
    with parameters_on_meta():  # a tower of such sizes may be none
        parts.build("towers", tower)
    taken.append(Taken(name, theirs, source, how.begins, how.left))
    return tower


def _by_default(found: Spec) -> Spec:
    """A tower without the choices of a model that pools what it sees, which read the last layer alone."""
    choices = parts.find("towers", found["kind"]).Config.choices
    return {key: value for key, value in found.items() if key in _PIXELS or key not in choices}


def _tower_of(source: Source, part: str | None, kind: str | None, index: int, count: int) -> tuple[str, Spec]:
    """The tower of a source that is meant, by its name and as data.

    Args:
        source: Where it comes from.
        part: As the recipe says; None if it does not.
        kind: Of the new model's tower, if the recipe says it.
        index: Of the new model's tower.
        count: Towers of the new model.

    Raises:
        FieldError: If it has none, or not that one, or it is not clear which is meant.
    """
    towers = source.towers
    if not towers:
        raise _has_no(source, "tower")
    if part is not None:
        if part not in towers:
            raise FieldError("weights.part", f"{source.name} has no {part}", f"it has {', '.join(towers)}")
        return part, towers[part]
    alike = [name for name in towers if towers[name]["kind"] == kind]
    if len(towers) == 1 or len(alike) == 1:
        name = next(iter(alike if len(towers) > 1 else towers))
    elif len(towers) == count:
        name = list(towers)[index]
    else:
        known = ", ".join(f"{name} ({spec['kind']})" for name, spec in towers.items())
        raise FieldError(
            WEIGHTS,
            f"{source.name} has {known}, and it is not said which is meant",
            f"write {{from: {source.name}, part: {next(iter(towers))}}}",
        )
    return name, towers[name]


def only(source: Source, part: str | None, name: str, found: Any) -> Any:
    """A part of which a source has one.

    Args:
        source: Where it comes from.
        part: As the recipe says; None if it does not.
        name: Of the part.
        found: The part as data, None if there is none.

    Raises:
        FieldError: If there is none, or another one is asked for.
    """
    if part not in (None, name):
        raise FieldError("weights.part", f"is {part}, and a {name} is needed", "leave it out")
    if found is None:
        raise _has_no(source, name)
    return found


def _has_no(source: Source, name: str) -> FieldError:
    article = {"connector": "connector", "language": "language model", "text": "text tower"}.get(name, name)
    return FieldError(
        WEIGHTS, f"{source.name} is a {source.sort} and has no {article}", f"name one that has a {article}"
    )
