"""Recipes and blueprints: a model and its training as data, strict on the way in.

A recipe is YAML. `load_recipe` reports every mistake at once, each with its line and the nearest known
name, before any work begins. Importing this module imports no torch; validating a blueprint's parts does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from vidapt import parts
from vidapt._dual import DualBlueprint as DualBlueprint
from vidapt._dual import DualParts as DualParts
from vidapt._dual import Pairing as Pairing
from vidapt._dual import RetrievalSet
from vidapt._dual import Text as Text
from vidapt._dual import TextPart as TextPart
from vidapt._learning import Batching as Batching
from vidapt._learning import Cache as Cache
from vidapt._learning import LoRA as LoRA
from vidapt._learning import Optimizer as Optimizer
from vidapt._learning import Rates as Rates
from vidapt._learning import Trained as Trained
from vidapt._mistakes import part_problems
from vidapt._strict import ModelName, Place
from vidapt._strict import Strict as Strict
from vidapt._strict import Weights as Weights
from vidapt._yaml import Lines, Where, apply_given, apply_overrides, describe, in_order, parse_yaml
from vidapt.errors import ConfigError
from vidapt.video.choose import Policy, Uniform

Spec = dict[str, Any]
"""A part: its `kind` and its own fields; in a recipe also whose `weights` it begins with, if any."""

Scene = Literal["image", "images", "video"]
"""What a clip is to a conversation: its only still, one of several stills, or footage."""

_FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class Prompt(Strict):
    """How a conversation becomes text.

    A sample reads `start`, then per user turn `user` and `opening`, then `answer`, `end`. In the user's
    text each media mark becomes `media` with the visual tokens in place of `{media}`. Where a conversation
    begins with a system turn of its own, `system` stands in the place of `start`, if the template has one.
    A `user` with `{media}` and no `{text}` shows the media alone (`plain` of LLaVA, Liu et al. 2023).

    Clips are read where their marks stand; under `compat: published` in front of the words of their turn, to
    which HiLight's code moves them.
    """

    start: str = ""
    system: str | None = None
    user: str = "{text}"
    opening: str = ""
    answer: str = "{text}"
    end: str = "</s>"
    media: str = "{media}"
    compat: Literal["published"] | None = None


class Blueprint(Strict):
    """A model as data. Sizes flow from the part that owns them, so none is repeated here.

    In a recipe, towers, connector and language model may say whose `weights` they begin with (`Weights`);
    what a model's folder holds is written out, with no `weights` left in it.

    Attributes:
        towers: The vision tower, or two, where the connector reads two.
        connector: Tower features to visual tokens.
        language: A transformers configuration of a causal language model, with its `model_type`.
        resolution: Frames to views, and views to what is read.
        scenes: Other resolutions for a single still, for one of several stills in a conversation, and for
            clips of more than one frame. A still is a clip of one frame.
        positions: Position ids.
        frames: Which frames of a clip are read.
        prompt: Conversation to text.
        adapters: Low-rank adapters that are part of the model.
    """

    towers: tuple[Spec, ...] = Field(min_length=1, max_length=2)
    connector: Spec
    language: Spec
    resolution: Spec = Field({"kind": "whole"})
    scenes: dict[Scene, Spec] = Field({})
    positions: Spec = Field({"kind": "rope1d"})
    frames: Policy = Uniform(count=16)
    prompt: Prompt = Prompt()
    adapters: LoRA | None = None

    def parts(self) -> Iterator[tuple[parts.Family, tuple[str | int, ...], Spec]]:
        """Every part with its family and its place in the blueprint."""
        for index, tower in enumerate(self.towers):
            yield "towers", ("towers", index), tower
        yield "connectors", ("connector",), self.connector
        yield "resolutions", ("resolution",), self.resolution
        for scene, resolution in self.scenes.items():
            yield "resolutions", ("scenes", scene), resolution
        yield "positions", ("positions",), self.positions


class DataSource(Strict):
    """Label files, and which of their samples to use.

    Attributes:
        path: A label file or a folder of clips.
        format: Its format; None tells it from its content.
        options: Fields of the format's own `Config`.
        types: Only samples whose question type is among these.
        limit: Only this many clips.
        skip: Leave out this many clips first.
    """

    path: Place
    format: str | None = None
    options: Spec = Field({})
    types: tuple[str, ...] | None = None
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)

    @field_validator("options")
    @classmethod
    def _options_only(cls, options: Spec) -> Spec:
        for key in ("kind", "path"):
            if key in options:
                raise ValueError(
                    f"`{key}` is no option; a source has `path` and `format`, beside its `options`"
                )
        return options


def _sources(value: Any) -> Any:
    """A single path or source stands for a list of one."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [{"path": item} if isinstance(item, str | Path) else item for item in listed]


Sources = Annotated[tuple[DataSource, ...], BeforeValidator(_sources)]


class Stage(Strict):
    """One stretch of training; without `data` of its own it learns from the recipe's.

    Alignment also reads `pairs`, and measures `retrieval` on each set whenever it saves; the best model by
    each set is kept.
    """

    name: _FolderName
    data: Sources = ()
    objective: Spec = Field({"kind": "next_token"})
    train: Trained = Trained()
    optimizer: Optimizer = Optimizer()
    batching: Batching = Batching()
    pairs: Pairing = Pairing()
    retrieval: dict[RetrievalSet, Sources] = Field({})
    cache: Cache = Cache()
    epochs: float | None = Field(None, gt=0, le=1_000_000)
    steps: int | None = Field(None, ge=1, le=1_000_000_000)
    save_every: int = Field(500, ge=1, le=1_000_000_000)
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if (self.epochs is None) == (self.steps is None):
            both = "" if self.epochs is None else ", and set the other to null"
            raise ValueError(f"give either `epochs` or `steps`{both}")
        return self

    @model_validator(mode="after")
    def _features_stay_true(self) -> Stage:
        if self.cache.keep == "features" and self.train.towers != "frozen":
            raise ValueError("`cache.keep: features` needs `train.towers: frozen`; keep frames instead")
        return self


class Recipe(Strict):
    """From a starting point through stages to an adapted model.

    Attributes:
        name: Name of the run's folder.
        start: A run's folder, a checkpoint's folder or a shipped model's name; None when `blueprint` or
            `dual` describes a model to be made from nothing. A dual encoder may also start from its
            authors' `.pt` file.
        accept: Weights that a dual encoder may start from (or take parts of) although they lack something,
            which begins as published: `image_clip` has no temporal table and no proxies, `short_clip` has
            positions for 77 tokens, which are stretched.
        blueprint: The video-language model, when there is no `start`.
        dual: The dual encoder, when there is no `start`.
        tokenizer: Folder of a tokenizer. None takes that of the model to start from, or of the one whose
            weights the language model (or the text tower) begins with; if there is neither, one of
            `vocabulary` entries is learned from the labels.
        vocabulary: Size of a learned tokenizer.
        data: What stages learn from that have no `data` of their own.
        stages: What is done, in order.
        seed: Fixes initial weights, order of data and dropout.
    """

    name: _FolderName
    start: ModelName | None = None
    accept: tuple[Literal["image_clip", "short_clip"], ...] = ()
    blueprint: Blueprint | None = None
    dual: DualParts | None = None
    tokenizer: Place | None = None
    vocabulary: int = Field(1024, ge=257, le=10_000_000)
    data: Sources = ()
    stages: tuple[Stage, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0, lt=2**63)
    # Hashes of what it settled to, and of what was written, which is not said of a changed copy.
    _read_as: tuple[str, str] | None = PrivateAttr(None)
    _lines: Lines | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _one_origin(self) -> Recipe:
        if sum(origin is not None for origin in (self.start, self.blueprint, self.dual)) != 1:
            raise ValueError("give either `start` (an existing model) or `blueprint` or `dual` (a new one)")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stage names must differ, got {names}")
        hungry = [stage.name for stage in self.stages if not (stage.data or self.data)]
        if hungry:
            raise ValueError(f"no `data`, neither in the recipe nor in the stages {hungry}")
        return self

    def sources(self, stage: Stage) -> tuple[DataSource, ...]:
        """What a stage learns from."""
        return stage.data or self.data

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the recipe's canonical JSON, its paths as they were written.

        The same text, read anywhere with the same overrides, has the same.
        """
        settled = self.settled
        return self._read_as[1] if self._read_as is not None and self._read_as[0] == settled else settled

    @property
    def settled(self) -> str:
        """The same with its paths as they are used, which the `recipe.json` of a run shares."""
        return fingerprint(self)

    def known_as(self, written: str) -> Recipe:
        """The same recipe, whose `fingerprint` is `written`."""
        same = self.model_copy()
        same._read_as = (self.settled, written)
        return same

    def at(self, where: Where) -> str:
        """How an error names a place, with its line where the recipe was read from a file."""
        place = ".".join(map(str, where))
        return place if self._lines is None else f"{self._lines.label(where)}: {place}"

    def to_json(self) -> str:
        """As a run keeps it; a prompt that is not given is left out, since weights may bring one."""
        given = self.blueprint is None or "prompt" in self.blueprint.model_fields_set
        return self.model_dump_json(indent=2, exclude=None if given else {"blueprint": {"prompt"}})


def fingerprint(model: BaseModel) -> str:
    """First 16 hex digits of the SHA-256 of a model's canonical JSON."""
    # Without defaults, so that a field added later changes no hash.
    plain = model.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_recipe(
    path: Path, overrides: Sequence[str] = (), *, given: Mapping[str, str | Path] | None = None
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
    apply_given(data, {place: str(value) for place, value in (given or {}).items()}, lines)
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
        return tuple(s.model_copy(update={"path": _under(folder, s.path)}) for s in sources)

    def settled(stage: Stage) -> Stage:
        sets = {name: absolute(sources) for name, sources in stage.retrieval.items()}
        update: dict[str, Any] = {"data": absolute(stage.data), "retrieval": sets}
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
    sets = [sources for stage in recipe.stages for sources in stage.retrieval.values()]
    paths += [source.path for sources in sets for source in sources]
    paths += [stage.pairs.lexicon for stage in recipe.stages if stage.pairs.lexicon is not None]
    if recipe.tokenizer is not None:
        paths.append(recipe.tokenizer)
    return sorted({path for path in paths if not os.path.exists(path)})  # noqa: PTH110
