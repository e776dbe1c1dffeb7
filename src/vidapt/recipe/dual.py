"""Dual encoders and their pairs as data. Importing this module imports no torch."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from vidapt.strict import Place, Strict, Weights
from vidapt.video.choose import Policy, Uniform

RetrievalSet = Literal["in_domain", "general"]
"""What an alignment stage measures retrieval on: the clips it adapts to, and others."""


class TextPart(Strict):
    """A dual encoder's text tower as a recipe has it.

    Attributes:
        arch: A transformers configuration as a dict; `model_type` is `clip_text_model`. It comes from
            `weights`, if there are any.
        kept: Read the first so many positions from one table, which is frozen, and the others from a second
            one; None has one table.
        weights: The dual encoder whose text tower it begins with.
    """

    arch: dict[str, Any] = Field({})
    kept: int | None = Field(default=None, ge=0)
    weights: Weights | None = None

    @model_validator(mode="after")
    def _known(self) -> TextPart:
        if not self.arch and self.weights is None:
            raise ValueError("give its `arch`, or `weights` to begin with")
        return self

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        return {key: value for key, value in plain.items() if key != "weights" or value is not None}


class Text(TextPart):
    """A dual encoder's text tower as data; see `TextPart`."""

    weights: None = None


class DualParts(Strict):
    """A dual encoder as a recipe has it: the tower and the text tower may begin with others' `weights`.

    Attributes:
        tower: The vision tower.
        text: The text tower.
        width: E, of the space in which both meet; None takes it from where the weights come from.
        pool: What stands for a clip before it is projected. `tower` is what the tower's own `pool` gives,
            such as its class token. `max` is, channel by channel, the maximum over all cells, which every
            tower can give: a channel becomes a detector, of which only the place it fires at is trained
            (Oquab et al. 2015, "Is Object Localization for Free?").
        resolution: Frames to the tower's view.
        frames: Which frames of a clip are read.
    """

    tower: dict[str, Any]
    text: TextPart
    width: int | None = Field(None, ge=1)
    pool: Literal["tower", "max"] = "tower"
    resolution: dict[str, Any] = Field({"kind": "whole", "fit": "squash"})
    frames: Policy = Uniform(count=12)

    @model_validator(mode="after")
    def _has_width(self) -> DualParts:
        if self.width is None and self.text.weights is None and "weights" not in self.tower:
            raise ValueError("give its `width`, of the space in which clips and texts meet")
        return self

    @property
    def towers(self) -> tuple[dict[str, Any], ...]:
        """The tower, as a video-language model's blueprint lists its own."""
        return (self.tower,)

    @property
    def scenes(self) -> dict[str, dict[str, Any]]:
        """None: stills and footage are cut alike."""
        return {}


class DualBlueprint(DualParts):
    """A dual encoder as data; see `DualParts`."""

    text: Text
    width: int = Field(ge=1)


class Pairing(Strict):
    """How labels become pairs of a clip and a text, and which pairs share a step; for alignment only.

    Attributes:
        captions: `answers` takes everything that is answered; `statements` takes what questions state where
            the answer says that it is true, and what is false as a falsified copy of it; `both` does so with
            questions that have the form of a statement, and takes the answers of the others.
        statement: Regular expression of a whole question whose first group is its statement.
        true: Answers that call a statement true.
        falsify: Make up to so many falsified copies of each text that has none, by changing one fact of it
            by rule. A copy is made of what the text says, and can be true by chance.
        lexicon: Which words can stand for one another; None is the one that comes with the package.
        sentences: Each sentence of a caption is a text of its own, too. What is false of the whole stands
            beside each of them, so that short and right has to beat long and wrong; and what is false of a
            sentence beside the whole, since without that a model learns to prefer what is short.
        tokens: Pad every text to so many tokens, its marks included; None pads to the longest of a step.
        longer: What becomes of a text with more tokens than that, or than the text tower reads.
        alike: Clips of one group may fit one another's texts. `clip` groups nothing; `text` groups clips
            with near-duplicate captions; `fact` groups clips by a fact of their samples.
        fact: Its name.
        similar: Share of words (of both texts together) that two captions must have in common, in the same
            order, to be near duplicates; 1 asks for the same text, but for capitals and punctuation.
        batches: Where clips of one group go: `apart` spreads them over steps, so that what counts as wrong
            is wrong; `together` puts them side by side; `any` leaves it to chance. The texts of one clip
            beyond `batching.questions` are treated likewise, and `any` keeps them apart.
    """

    captions: Literal["answers", "statements", "both"] = "answers"
    statement: str = "(.+)"
    true: tuple[str, ...] = ("yes", "true", "right", "correct")
    falsify: int = Field(0, ge=0)
    lexicon: Place | None = None
    sentences: bool = False
    tokens: int | None = Field(None, ge=3)
    longer: Literal["skip", "truncate"] = "skip"
    alike: Literal["clip", "text", "fact"] = "clip"
    fact: str | None = None
    similar: float = Field(1.0, gt=0, le=1)
    batches: Literal["any", "apart", "together"] = "apart"

    @model_validator(mode="after")
    def _whole(self) -> Pairing:
        try:
            groups = re.compile(self.statement).groups
        except re.error as error:
            raise ValueError(f"`statement` is no regular expression: {error}") from None
        if not groups:
            raise ValueError("`statement` needs a group in parentheses around what is stated")
        if (self.alike == "fact") != (self.fact is not None):
            raise ValueError("`alike: fact` and `fact` belong together")
        if self.lexicon is not None and not self.falsify:
            raise ValueError("`lexicon` needs `falsify`: how many copies are made of a text")
        if self.captions == "both" and "statement" not in self.model_fields_set:
            raise ValueError("`captions: both` needs `statement`, or every question would be one")
        return self
