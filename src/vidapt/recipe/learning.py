"""How a stage learns, as data: which parts, how fast, in which portions.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from vidapt.recipe.mixing import Sizes
from vidapt.strict import Strict

_Beta = Annotated[float, Field(ge=0, lt=1)]
_Share = Annotated[float, Field(gt=0, le=1)]


class LoRA(Strict):
    """Low-rank adapters (peft) on a part's linear layers whose names are listed."""

    rank: int = Field(16, ge=1, le=65_536)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = "all-linear"


class Last(Strict):
    """Only the last layers of a part learn, and what stands behind them."""

    last: int = Field(ge=1, le=10_000)


_Word = Literal["frozen", "full", "norms", "lora"]


def _known(value: Any) -> Any:
    """See that it is one of the words, or a mapping; one sentence tells of all that it can be."""
    if isinstance(value, Mapping | Last) or value in get_args(_Word):
        return value
    raise ValueError(f"should be {', '.join(map(repr, get_args(_Word)))} or {{last: N}}")


def _sort_of(value: Any) -> str:
    return "last" if isinstance(value, Mapping | Last) else "word"


Learns = Annotated[
    Annotated[_Word, Tag("word")] | Annotated[Last, Tag("last")],
    Discriminator(_sort_of),
    BeforeValidator(_known),
]
"""How much of a part learns."""


class Trained(Strict):
    """Which parts learn, and how much of each.

    A part is `frozen` (a frozen tower's features are cached), learns in `full`, with its normalisation layers
    alone (`norms`), with low-rank adapters (`lora`), or with its `{last: N}` layers and what stands behind
    them. A video-language model has towers, connector and language; a dual encoder has towers, text and
    projections, to which its temperature belongs.

    Attributes:
        towers: The vision towers.
        connector: And what a resolution learns.
        language: The language model.
        lora: Adapters of the language model.
        towers_lora: Adapters of the towers.
        base: In how many bits the matrices of a language model that does not learn itself are kept while the
            stage lasts. What is saved has them as they were.
        text: The text tower of a dual encoder.
        projections: Of a dual encoder.
    """

    towers: Learns = "frozen"
    connector: Learns = "full"
    language: Learns = "full"
    lora: LoRA = LoRA()
    towers_lora: LoRA = LoRA()
    base: Literal["stored", "8bit", "4bit"] = "stored"
    text: Learns = "full"
    projections: Literal["frozen", "full"] = "full"

    @field_validator("connector", "text")
    @classmethod
    def _has_no_adapters(cls, learns: Learns) -> Learns:
        if learns == "lora":
            raise ValueError(
                "is small, and no model's folder holds adapters of it: use `full`, `norms` or `{last: N}`"
            )
        return learns

    @model_validator(mode="after")
    def _base_stays(self) -> Trained:
        if self.base != "stored" and self.language not in ("frozen", "lora"):
            raise ValueError(
                f"`base: {self.base}` holds weights that do not learn: set `language: lora` or `frozen`"
            )
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Trained:
        dual = self.model_fields_set & {"text", "projections"}
        parts_of = [(self.towers, self.connector, self.language), (self.towers, self.text, self.projections)]
        if all(learns == "frozen" for learns in parts_of[bool(dual)]):
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


class LayerDecay(Strict):
    """By what a part's rate is multiplied for every layer further from its end."""

    towers: _Share = 1.0
    language: _Share = 1.0
    text: _Share = 1.0


class Optimizer(Strict):
    """AdamW with a warm-up and a decay to `floor` times the peak.

    Attributes:
        kind: `adamw` is torch's. `adamw_8bit` keeps its two moments in eight bits, `adamw_offload` pages them
            to main memory when a GPU has no room for them; both need bitsandbytes.
        rates: Of each part, at their peak.
        layer_decay: Smaller rates for layers further from a part's end.
        weight_decay: Of matrices.
        betas: AdamW's.
        eps: AdamW's.
        warmup: Share of the steps in which rates rise to their peak.
        warmup_floor: Share of the peak with which they begin.
        decay: How they fall behind it. Under `wsd` (warm-up, stable, decay) they stay at their peak, and fall
            in a line in the last `cooldown` of the steps.
        floor: Share of the peak to which they fall.
        cooldown: Share of the steps in which `wsd` falls.
        clip_norm: Longer gradients are shortened to this length.
    """

    kind: Literal["adamw", "adamw_8bit", "adamw_offload"] = "adamw"
    rates: Rates = Rates()
    layer_decay: LayerDecay = LayerDecay()
    weight_decay: float = Field(0.0, ge=0, le=10)
    betas: tuple[_Beta, _Beta] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0, le=1)
    warmup: float = Field(0.03, ge=0, lt=1)
    warmup_floor: float = Field(0.0, ge=0, le=1)
    decay: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1)
    cooldown: float = Field(0.1, gt=0, le=1)
    clip_norm: float | None = Field(1.0, gt=0)


class Average(Strict):
    """A mean of the weights over the steps, which becomes the stage's model.

    Attributes:
        kind: `ema` weighs what is long ago ever less (Polyak & Juditsky 1992); `swa` is the plain mean over
            the last steps (Izmailov et al. 2018, arXiv 1803.05407).
        decay: What of an `ema` stays at each step. Among the first steps it is less, so that what the weights
            were at the beginning is soon forgotten.
        begin: Share of the steps behind which `swa` begins, written `from`.
    """

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["ema", "swa"]
    decay: float = Field(0.999, gt=0, lt=1)
    begin: float = Field(0.75, ge=0, lt=1, alias="from")

    @model_validator(mode="after")
    def _its_own(self) -> Average:
        strange = {"ema": "begin", "swa": "decay"}[self.kind]
        if strange in self.model_fields_set:
            other = {"ema": "`from` is for `swa`", "swa": "`decay` is for `ema`"}[self.kind]
            raise ValueError(f"{other}, not for `{self.kind}`")
        return self


class Batching(Strict):
    """How samples are grouped.

    Attributes:
        clips: Clips in a step.
        at_once: At most this many of a step's clips are computed together; the others follow, and their
            gradients add up to that of the whole step. None takes all of them. It changes no more than how
            numbers round, and what memory a step needs.
        memory: `auto` computes a step that does not fit into memory again with half as many clips at once,
            and goes on so.
        questions: At most this many samples of one clip in a step, drawn anew at each visit.
        apart: Take conversations about one clip apart: each question is learned as one that is asked alone,
            and not behind the questions before it.
        placement: Where several clips of one conversation are read: where its text names them, or all in
            `front` of it, with `Image 1` and so on where they stood; `mixed` is one or the other, by what the
            clips are.
        shared_prefix: All samples of a clip behind one copy of its visual tokens; False gives each
            sample its own copy (same loss, more work).
        share: Probability that a sample of the named question type takes part in a visit (default 1).
        blind: Share of a clip's visits in which its questions are asked without it, where the language model
            learns to answer. What a model says blind is then something it was trained to say, and the control
            of `vidapt eval` proves something.
        ahead: Steps that are made ready in the background while one is computed: clips are decoded, read from
            the cache and cut, and texts laid out. It changes no result; 0 makes none.
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
    memory: Literal["given", "auto"] = "given"
    questions: int | None = Field(None, ge=1, le=1_000_000)
    apart: bool = False
    placement: Literal["as_written", "front", "mixed"] = "as_written"
    shared_prefix: bool = True
    share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field({})
    blind: float = Field(0.05, ge=0, lt=1)
    ahead: int = Field(2, ge=0, le=1000)
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
