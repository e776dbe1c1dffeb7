"""How a stage learns, as data: which parts, how fast, in which portions.

Importing this module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vidapt.recipe.mixing import Sizes
from vidapt.strict import Strict

_Beta = Annotated[float, Field(ge=0, lt=1)]


class LoRA(Strict):
    """Low-rank adapters (peft) on the language model's linear layers whose names are listed."""

    rank: int = Field(16, ge=1, le=65_536)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = "all-linear"


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

    towers: float = Field(2e-6, gt=0, le=1)
    connector: float = Field(1e-4, gt=0, le=1)
    language: float = Field(2e-5, gt=0, le=1)
    text: float = Field(2e-6, gt=0, le=1)
    projections: float = Field(2e-6, gt=0, le=1)
    objective: float = Field(1e-3, gt=0, le=1)


class Optimizer(Strict):
    """AdamW with a warm-up and a decay to `floor` times the peak."""

    rates: Rates = Rates()
    weight_decay: float = Field(0.0, ge=0, le=10)
    betas: tuple[_Beta, _Beta] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0, le=1)
    warmup: float = Field(0.03, ge=0, lt=1)
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1)
    clip_norm: float | None = Field(1.0, gt=0)


class Batching(Strict):
    """How samples are grouped.

    Attributes:
        clips: Clips in a step.
        at_once: At most this many of a step's clips are computed together; the others follow, and their
            gradients add up to that of the whole step. None takes all of them. It changes no more than how
            numbers round, and what memory a step needs.
        questions: At most this many samples of one clip in a step, drawn anew at each visit.
        apart: Take conversations about one clip apart: each question is learned as one that is asked alone,
            and not behind the questions before it.
        shared_prefix: All samples of a clip behind one copy of its visual tokens; False gives each
            sample its own copy (same loss, more work).
        share: Probability that a sample of the named question type takes part in a visit (default 1).
        blind: Share of a clip's visits in which its questions are asked without it, where the language model
            learns to answer. What a model says blind is then something it was trained to say, and the control
            of `vidapt eval` proves something.
        max_answer_tokens: Longer answers are refused when the data is read.
        media: Whether text alone, stills and footage are `mixed` in a step, or kept `apart` in steps of their
            own.
        bucket: `length` makes steps of clips that are read in about as many tokens, in random order.
        sizes: Groups by the size of pictures, and what becomes of these.
        flex: Attend by FlexAttention, which trains on CUDA only and costs less memory where sequences are
            long; the result differs by rounding alone.
    """

    clips: int = Field(8, ge=1, le=1_000_000)
    at_once: int | None = Field(None, ge=1, le=1_000_000)
    questions: int | None = Field(None, ge=1, le=1_000_000)
    apart: bool = False
    shared_prefix: bool = True
    share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field({})
    blind: float = Field(0.05, ge=0, lt=1)
    max_answer_tokens: int = Field(1024, ge=1)
    media: Literal["mixed", "apart"] = "mixed"
    bucket: Literal["random", "length"] = "random"
    sizes: Sizes | None = None
    flex: bool = False


class Cache(Strict):
    """What is kept on disk between visits of a clip.

    `features` keeps a frozen tower's output, `frames` the decoded and cut frames; `auto` chooses by what
    is frozen. `dtype` exact keeps the tower's own number format.
    """

    keep: Literal["auto", "features", "frames", "nothing"] = "auto"
    dtype: Literal["exact", "float16", "bfloat16"] = "exact"
    max_gb: float = Field(50.0, gt=0)
