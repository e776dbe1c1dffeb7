"""From a starting point through stages to an adapted model, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from vidapt.digests import digest
from vidapt.recipe.blueprint import Blueprint
from vidapt.recipe.dual import DualParts
from vidapt.recipe.reads import Reads
from vidapt.recipe.stage import DataSource, FolderName, Sources, Stage
from vidapt.strict import ModelName, Place, Strict
from vidapt.yaml_lines import Lines, Where


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
        reads: What the model to start from is to read of clips, where that is other than it was.
        blueprint: The video-language model, when there is no `start`.
        dual: The dual encoder, when there is no `start`.
        tokenizer: Folder of a tokenizer. None takes that of the model to start from, or of the one whose
            weights the language model (or the text tower) begins with; if there is neither, one of
            `vocabulary` entries is learned from the labels.
        vocabulary: Size of a learned tokenizer.
        new_tokens: With a `start` that vidapt made: so many tokens more are learned from the labels, so that
            the words of a domain are whole.
        data: What stages learn from that have no `data` of their own.
        stages: What is done, in order.
        seed: Fixes initial weights, order of data and dropout.
    """

    name: FolderName
    start: ModelName | None = None
    accept: tuple[Literal["image_clip", "short_clip"], ...] = ()
    reads: Reads | None = None
    blueprint: Blueprint | None = None
    dual: DualParts | None = None
    tokenizer: Place | None = None
    vocabulary: int = Field(1024, ge=257, le=10_000_000)
    new_tokens: int = Field(0, ge=0, le=1_000_000)
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
        if self.reads is not None and self.start is None:
            raise ValueError("`reads` goes with `start`; a `blueprint` says itself what is read")
        if self.new_tokens and self.start is None:
            raise ValueError("`new_tokens` goes with `start`; a `blueprint` has a `vocabulary` of its own")
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
    return digest(plain, 16)
