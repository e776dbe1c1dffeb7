"""One stretch of training as data: what it learns from, by which objective, for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vidapt.recipe.blueprint import Spec
from vidapt.recipe.dual import Pairing, RetrievalSet
from vidapt.recipe.learning import Average, Batching, Cache, Optimizer, Trained
from vidapt.recipe.mixing import Mix
from vidapt.recipe.unsupported import Switch, Unsupported
from vidapt.strict import Place, Strict

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class DataSource(Strict):
    """Label files, and which of their samples to use.

    Attributes:
        path: A label file, a folder of clips, or a pattern for shards such as `part-*.tar`.
        format: Its format; None tells it from its content.
        options: Fields of the format's own `Config`.
        types: Only samples whose question type is among these.
        limit: Only this many clips.
        skip: Leave out this many clips first.
        weight: What its clips count in the stage's `mix`.
        read: `whole` reads and checks all labels before work begins. `rows` reads a row when a step comes to
            it, by an index beside the file, in memory that does not grow with it; what an index cannot see is
            checked then. `auto` does so above 64 MB and for tar shards.
        decisions: What a person decided of its rows (`vidapt look-over`); it goes before all else.
        version: Content hash of the frozen version (`vidapt data freeze`) that the labels have to be.
        unsupported: What becomes of claims that their clip does not bear out, where `vidapt evidence` has
            looked at them.
    """

    path: Place
    format: str | None = None
    options: Spec = Field({})
    types: tuple[str, ...] | None = None
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
    weight: float = Field(1.0, gt=0, le=1_000_000)
    read: Literal["auto", "whole", "rows"] = "auto"
    decisions: Place | None = None
    version: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")
    unsupported: Switch = Unsupported()

    @field_validator("options")
    @classmethod
    def _options_only(cls, options: Spec) -> Spec:
        for key in ("kind", "path"):
            if key in options:
                raise ValueError(
                    f"`{key}` is no option; a source has `path` and `format`, beside its `options`"
                )
        return options

    @model_validator(mode="after")
    def _decided_whole(self) -> DataSource:
        if self.decisions is not None and self.read == "rows":
            raise ValueError("`decisions` need labels that are read whole: freeze them, and name the version")
        return self


def _sources(value: Any) -> Any:
    """A single path or source stands for a list of one."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [{"path": item} if isinstance(item, str | Path) else item for item in listed]


Sources = Annotated[tuple[DataSource, ...], BeforeValidator(_sources)]


LENGTHS = ("epochs", "steps", "samples", "tokens", "hours")
"""In what the length of a stage can be given."""


class Stage(Strict):
    """One stretch of training; without `data` of its own it learns from the recipe's.

    A checkpoint is written every `save_every` steps, and also once `save_minutes` have passed since the last
    one. When it is written changes no result.

    Under `recompute` the states of layers are not kept for the backward pass but computed again there: about
    a third more work, for much less memory.

    Its length is given in one of `epochs`, `steps`, `samples` (questions learned from), `tokens` (which the
    language model reads) or `hours`.

    `average` makes its model the mean of the weights over its steps. A step whose loss or gradient is not
    finite is left out, and after `guard` of them in a row training stops.

    On each set of `measure` a model that answers is asked up to `measure_questions` questions, the same ones
    every `save_every` steps: what it gains in its domain, and what it keeps elsewhere. The best model by each
    set is kept.

    Alignment also reads `pairs`, and measures `retrieval` on each set every `save_every` steps; the best
    model by each set is kept.
    """

    name: FolderName
    data: Sources = ()
    objective: Spec = Field({"kind": "next_token"})
    train: Trained = Trained()
    optimizer: Optimizer = Optimizer()
    batching: Batching = Batching()
    pairs: Pairing = Pairing()
    mix: Mix = Mix()
    retrieval: dict[RetrievalSet, Sources] = Field({})
    measure: dict[FolderName, Sources] = Field({})
    measure_questions: int = Field(64, ge=1, le=1_000_000)
    cache: Cache = Cache()
    epochs: float | None = Field(None, gt=0, le=1_000_000)
    steps: int | None = Field(None, ge=1, le=1_000_000_000)
    samples: int | None = Field(None, ge=1, le=10**12)
    tokens: int | None = Field(None, ge=1, le=10**15)
    hours: float | None = Field(None, gt=0, le=100_000)
    average: Average | None = None
    guard: int = Field(3, ge=1, le=1_000_000)
    save_every: int = Field(500, ge=1, le=1_000_000_000)
    save_minutes: float | None = Field(None, gt=0, le=100_000)
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False

    @property
    def sets(self) -> dict[str, Sources]:
        """What is measured while it trains, by the set's name."""
        return {**{str(name): sources for name, sources in self.retrieval.items()}, **self.measure}

    @property
    def lengths(self) -> list[str]:
        """Fields that say how long it lasts; of a sound stage there is one."""
        return [name for name in LENGTHS if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        given = self.lengths
        if len(given) != 1:
            others = f", and all but one of {', '.join(given)} to null" if given else ""
            raise ValueError(f"give one of {', '.join(f'`{name}`' for name in LENGTHS)}{others}")
        return self

    @model_validator(mode="after")
    def _features_stay_true(self) -> Stage:
        if self.cache.keep == "features" and self.train.towers != "frozen":
            raise ValueError("`cache.keep: features` needs `train.towers: frozen`; keep frames instead")
        return self
