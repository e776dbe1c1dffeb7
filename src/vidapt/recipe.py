"""Recipes and blueprints: a model and its training as data, strict on the way in.

A recipe is YAML. `load_recipe` reports every mistake at once, each with its line and the nearest known
name, before any work begins. Importing this module imports no torch; validating a blueprint's parts does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vidapt import parts
from vidapt._dual import DualBlueprint as DualBlueprint
from vidapt._dual import Pairing as Pairing
from vidapt._dual import RetrievalSet
from vidapt._dual import Text as Text
from vidapt._mistakes import part_problems
from vidapt._yaml import apply_overrides, describe, in_order, parse_yaml
from vidapt.errors import ConfigError
from vidapt.video.choose import Policy, Uniform

Spec = dict[str, Any]
"""A part: its `kind` and its own fields."""

Scene = Literal["image", "images", "video"]
"""What a clip is to a conversation: its only still, one of several stills, or footage."""


class Strict(BaseModel):
    """Immutable; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Prompt(Strict):
    """How a conversation becomes text.

    A sample reads `start`, then per user turn `user` and `opening`, then `answer`, `end`. In the user's
    text each media mark becomes `media` with the visual tokens in place of `{media}`. Where a conversation
    begins with a system turn of its own, `system` stands in the place of `start`, if the template has one.
    """

    start: str = ""
    system: str | None = None
    user: str = "{text}"
    opening: str = ""
    answer: str = "{text}"
    end: str = "</s>"
    media: str = "{media}"


class LoRA(Strict):
    """Low-rank adapters (peft) on the language model's linear layers whose names are listed."""

    rank: int = Field(16, ge=1)
    alpha: float = 32.0
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Blueprint(Strict):
    """A model as data. Sizes flow from the part that owns them, so none is repeated here.

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
    resolution: Spec = {"kind": "whole"}
    scenes: dict[Scene, Spec] = {}
    positions: Spec = {"kind": "rope1d"}
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

    path: Path
    format: str | None = None
    options: Spec = {}
    types: tuple[str, ...] | None = None
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)


def _sources(value: Any) -> Any:
    """A single path or source stands for a list of one."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [{"path": item} if isinstance(item, str | Path) else item for item in listed]


Sources = Annotated[tuple[DataSource, ...], BeforeValidator(_sources)]


class Trained(Strict):
    """Which parts learn. `frozen` parts run without gradients; a frozen tower's features are cached.

    A video-language model has towers, connector and language; a dual encoder has towers, text and
    projections, to which its temperature belongs.
    """

    towers: Literal["frozen", "full"] = "frozen"
    connector: Literal["frozen", "full"] = "full"
    language: Literal["frozen", "full", "lora"] = "full"
    lora: LoRA = LoRA()
    text: Literal["frozen", "full"] = "full"
    projections: Literal["frozen", "full"] = "full"

    @model_validator(mode="after")
    def _something_learns(self) -> Trained:
        dual = self.model_fields_set & {"text", "projections"}
        parts_of = [(self.towers, self.connector, self.language), (self.towers, self.text, self.projections)]
        if set(parts_of[bool(dual)]) == {"frozen"}:
            raise ValueError("every part is frozen: nothing would be trained")
        return self


class Rates(Strict):
    """Peak learning rate of each part."""

    towers: float = Field(2e-6, gt=0)
    connector: float = Field(1e-4, gt=0)
    language: float = Field(2e-5, gt=0)
    text: float = Field(2e-6, gt=0)
    projections: float = Field(2e-6, gt=0)
    objective: float = Field(1e-3, gt=0)


class Optimizer(Strict):
    """AdamW with a warm-up and a decay to `floor` times the peak."""

    rates: Rates = Rates()
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1)
    clip_norm: float | None = Field(1.0, gt=0)


class Batching(Strict):
    """How samples are grouped.

    Attributes:
        clips: Clips in a step.
        questions: At most this many samples of one clip in a step, drawn anew at each visit.
        shared_prefix: All samples of a clip behind one copy of its visual tokens; False gives each
            sample its own copy (same loss, more work).
        share: Probability that a sample of the named question type takes part in a visit (default 1).
        max_answer_tokens: Longer answers are refused when the data is read.
    """

    clips: int = Field(8, ge=1)
    questions: int | None = Field(None, ge=1)
    shared_prefix: bool = True
    share: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    max_answer_tokens: int = Field(1024, ge=1)


class Cache(Strict):
    """What is kept on disk between visits of a clip.

    `features` keeps a frozen tower's output, `frames` the decoded and cut frames; `auto` chooses by what
    is frozen. `dtype` exact keeps the tower's own number format.
    """

    keep: Literal["auto", "features", "frames", "nothing"] = "auto"
    dtype: Literal["exact", "float16", "bfloat16"] = "exact"
    max_gb: float = Field(50.0, gt=0)


class Stage(Strict):
    """One stretch of training; without `data` of its own it learns from the recipe's.

    Alignment also reads `pairs`, and measures `retrieval` on each set whenever it saves; the best model by
    each set is kept.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    data: Sources = ()
    objective: Spec = {"kind": "next_token"}
    train: Trained = Trained()
    optimizer: Optimizer = Optimizer()
    batching: Batching = Batching()
    pairs: Pairing = Pairing()
    retrieval: dict[RetrievalSet, Sources] = {}
    cache: Cache = Cache()
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    save_every: int = Field(500, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs` or `steps`")
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
        accept: Weights that a dual encoder may start from although they lack something, which then begins
            as published: `image_clip` has no temporal table and no proxies, `short_clip` has positions for
            77 tokens, which are stretched.
        blueprint: The video-language model, when there is no `start`.
        dual: The dual encoder, when there is no `start`.
        tower_weights: A model, named as for `start`, whose tower is that of the one to be made: its weights
            are taken, and everything else begins anew.
        tokenizer: Folder of a tokenizer, or None to learn one of `vocabulary` entries from the labels.
        vocabulary: Size of a learned tokenizer.
        data: What stages learn from that have no `data` of their own.
        stages: What is done, in order.
        seed: Fixes initial weights, order of data and dropout.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    start: str | None = None
    accept: tuple[Literal["image_clip", "short_clip"], ...] = ()
    blueprint: Blueprint | None = None
    dual: DualBlueprint | None = None
    tower_weights: str | None = None
    tokenizer: Path | None = None
    vocabulary: int = Field(1024, ge=257)
    data: Sources = ()
    stages: tuple[Stage, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_origin(self) -> Recipe:
        if sum(origin is not None for origin in (self.start, self.blueprint, self.dual)) != 1:
            raise ValueError("give either `start` (an existing model) or `blueprint` or `dual` (a new one)")
        if self.start is not None and self.tower_weights is not None:
            raise ValueError("`start` brings its own tower: leave out `tower_weights`")
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
        """First 16 hex digits of the SHA-256 of the recipe's canonical JSON."""
        return fingerprint(self)


def fingerprint(model: BaseModel) -> str:
    """First 16 hex digits of the SHA-256 of a model's canonical JSON."""
    # Without defaults, so that a field added later changes no hash.
    plain = model.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `overrides` are `a.b.0.c=value` strings applied to the YAML first.

    Relative paths inside are taken from the recipe's own folder.

    Raises:
        ConfigError: Listing every mistake with its line, what was found and what is nearest.
    """
    data, lines = parse_yaml(path)
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
    return _absolute(recipe, path.parent)


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its relative paths taken from `folder`."""

    def absolute(sources: tuple[DataSource, ...]) -> tuple[DataSource, ...]:
        return tuple(s.model_copy(update={"path": (folder / s.path).resolve()}) for s in sources)

    def settled(stage: Stage) -> Stage:
        sets = {name: absolute(sources) for name, sources in stage.retrieval.items()}
        update: dict[str, Any] = {"data": absolute(stage.data), "retrieval": sets}
        if stage.pairs.lexicon is not None:
            lexicon = (folder / stage.pairs.lexicon).resolve()
            update["pairs"] = stage.pairs.model_copy(update={"lexicon": lexicon})
        if "terms" in stage.objective:
            terms = [_taught_from(folder, term) for term in stage.objective["terms"]]
            update["objective"] = {**stage.objective, "terms": terms}
        return stage.model_copy(update=update)

    stages = tuple(settled(stage) for stage in recipe.stages)
    update: dict[str, Any] = {"data": absolute(recipe.data), "stages": stages}
    if recipe.tokenizer is not None:
        update["tokenizer"] = (folder / recipe.tokenizer).resolve()
    for field in ("start", "tower_weights"):
        name = getattr(recipe, field)
        if name is not None and (folder / name).exists():
            update[field] = str((folder / name).resolve())
    return recipe.model_copy(update=update)


def _taught_from(folder: Path, term: Spec) -> Spec:
    """A term of an objective with the paths of its teachers, if any, taken from `folder` where they exist."""
    if "teachers" not in term:
        return term
    teachers = {}
    for name, given in term["teachers"].items():
        one = {"path": given} if isinstance(given, str) else given
        path = (folder / one["path"]).resolve()
        teachers[name] = {**one, "path": str(path)} if path.exists() else one
    return {**term, "teachers": teachers}


def missing_files(recipe: Recipe) -> list[Path]:
    """Label files the recipe names that do not exist."""
    paths = [source.path for stage in recipe.stages for source in recipe.sources(stage)]
    sets = [sources for stage in recipe.stages for sources in stage.retrieval.values()]
    paths += [source.path for sources in sets for source in sources]
    paths += [stage.pairs.lexicon for stage in recipe.stages if stage.pairs.lexicon is not None]
    if recipe.tokenizer is not None:
        paths.append(recipe.tokenizer)
    return sorted({path for path in paths if not path.exists()})
