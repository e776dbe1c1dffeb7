"""Recipes from YAML, strict on the way in: every mistake at once, each with its line, before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidapt.errors import ConfigError
from vidapt.files import matching
from vidapt.recipe.blueprint import Blueprint, Spec
from vidapt.recipe.dual import DualParts
from vidapt.recipe.mistakes import part_problems
from vidapt.recipe.recipe import Recipe
from vidapt.recipe.stage import DataSource, Stage
from vidapt.strict import Weights
from vidapt.yaml_lines import apply_given, apply_overrides, describe, in_order, parse_yaml


def load_recipe(
    path: Path, overrides: Sequence[str] = (), *, given: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe.

    Relative paths inside are taken from the recipe's own folder.

    Args:
        path: The recipe.
        overrides: `a.b.0.c=value` entries that change it; their values are YAML.
        given: The same with values that are taken as they are, by their places; they come first.

    Raises:
        ConfigError: Listing every mistake with its line, what was found and what is nearest.
    """
    data, lines = parse_yaml(path)
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in (given or {}).items()}
    apply_given(data, plain, lines)
    apply_overrides(data, overrides, lines)
    problems: list[str] = []
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems += describe(error, Recipe, lines)
    problems += part_problems(data, lines)
    if problems or recipe is None:
        raise ConfigError(path, f"{len(problems)} mistake(s)\n  " + "\n  ".join(in_order(problems)))
    settled = _absolute(recipe, path.parent).known_as(recipe.fingerprint)
    settled._lines = lines
    return settled


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its relative paths taken from `folder`."""

    def absolute(sources: tuple[DataSource, ...]) -> tuple[DataSource, ...]:
        return tuple(_source_under(folder, source) for source in sources)

    def settled(stage: Stage) -> Stage:
        update: dict[str, Any] = {"data": absolute(stage.data)}
        for kind in ("retrieval", "measure"):
            sets = getattr(stage, kind)
            update[kind] = {name: absolute(sources) for name, sources in sets.items()}
        if stage.pairs.lexicon is not None:
            lexicon = _under(folder, stage.pairs.lexicon)
            update["pairs"] = stage.pairs.model_copy(update={"lexicon": lexicon})
        if "terms" in stage.objective:
            terms = [_taught_from(folder, term) for term in stage.objective["terms"]]
            update["objective"] = {**stage.objective, "terms": terms}
        return stage.model_copy(update=update)

    stages = tuple(settled(stage) for stage in recipe.stages)
    update: dict[str, Any] = {"data": absolute(recipe.data), "stages": stages}
    if recipe.tokenizer is not None:
        update["tokenizer"] = _under(folder, recipe.tokenizer)
    if recipe.start is not None:
        update["start"] = _model_under(folder, recipe.start)
    if recipe.blueprint is not None:
        update["blueprint"] = _begun(folder, recipe.blueprint)
    if recipe.dual is not None:
        update["dual"] = _dual_begun(folder, recipe.dual)
    return recipe.model_copy(update=update)


def _source_under(folder: Path, source: DataSource) -> DataSource:
    """A source with the path of its labels, and the root of their media, taken from `folder`."""
    update: dict[str, Any] = {"path": _under(folder, source.path)}
    if source.decisions is not None:
        update["decisions"] = _under(folder, source.decisions)
    root = source.options.get("media_root")
    if isinstance(root, str):
        update["options"] = {**source.options, "media_root": str(_under(folder, Path(root)))}
    return source.model_copy(update=update)


def _begun(folder: Path, blueprint: Blueprint) -> Blueprint:
    """The blueprint with the paths of others' weights taken from `folder`, where they exist."""
    parts_of = {name: _spec_begun(folder, getattr(blueprint, name)) for name in ("connector", "language")}
    towers = tuple(_spec_begun(folder, tower) for tower in blueprint.towers)
    return blueprint.model_copy(update={**parts_of, "towers": towers})


def _dual_begun(folder: Path, dual: DualParts) -> DualParts:
    """The same of a dual encoder."""
    text, tower = dual.text, _spec_begun(folder, dual.tower)
    if text.weights is not None:
        text = text.model_copy(update={"weights": _weights_under(folder, text.weights)})
    return dual.model_copy(update={"tower": tower, "text": text})


def _spec_begun(folder: Path, spec: Spec) -> Spec:
    if "weights" not in spec:
        return spec
    return {**spec, "weights": _weights_under(folder, Weights.model_validate(spec["weights"])).model_dump()}


def _weights_under(folder: Path, weights: Weights) -> Weights:
    return weights.model_copy(update={"source": _model_under(folder, weights.source)})


def _taught_from(folder: Path, term: Spec) -> Spec:
    """A term of an objective with the paths of its teachers, if any, taken from `folder` where they exist."""
    if "teachers" not in term:
        return term
    teachers = {}
    for name, given in term["teachers"].items():
        one = {"path": given} if isinstance(given, str) else given
        teachers[name] = {**one, "path": _model_under(folder, one["path"])}
    return {**term, "teachers": teachers}


def _under(folder: Path, path: Path) -> Path:
    # Not `Path.resolve`, which stumbles over links that lead in a circle.
    return Path(os.path.realpath(folder / path))


def _model_under(folder: Path, name: str) -> str:
    """A model in `folder` by its path; another one by its name, as it is."""
    # `os.path.exists` is false of what cannot be asked for, where `Path.exists` raises.
    return str(_under(folder, Path(name))) if os.path.exists(folder / name) else name  # noqa: PTH110


def missing_files(recipe: Recipe) -> list[Path]:
    """Files the recipe names that do not exist: labels, lexicons, a tokenizer."""
    paths = [source.path for stage in recipe.stages for source in recipe.sources(stage)]
    sets = [sources for stage in recipe.stages for sources in stage.sets.values()]
    paths += [source.path for sources in sets for source in sources]
    paths += [one.decisions for stage in recipe.stages for one in recipe.sources(stage) if one.decisions]
    paths += [stage.pairs.lexicon for stage in recipe.stages if stage.pairs.lexicon is not None]
    if recipe.tokenizer is not None:
        paths.append(recipe.tokenizer)
    return sorted({path for path in paths if not matching(path)})
