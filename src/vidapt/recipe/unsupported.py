"""What becomes, in training, of claims that a clip does not bear out.

Importing this module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vidapt.strict import Strict

Act = Literal["keep", "weight", "mask_values", "mask_claims", "delete", "not_visible", "drop"]

_TEXT_CHANGES = frozenset({"delete", "not_visible", "drop"})


class Unsupported(Strict):
    """What is done with unsupported claims of labels that have the column `claims` (`vidapt evidence`).

    Attributes:
        act: `keep` learns them as they are. `weight` lets their tokens count `weight`. `mask_values` does not
            learn the words that tell what could have been otherwise, `mask_claims` not the whole clause;
            both are still read. `delete` takes the clause out of the text, its opening included.
            `not_visible` puts `sentence` in the place of each sentence of which nothing is left, and deletes
            other clauses. `drop` leaves the row out.
        verdicts: Which claims are unsupported.
        weight: What their tokens count under `weight`.
        sentence: What is said under `not_visible`.
        drop_below: Rows of which a smaller share of the claims is supported are left out, whatever else is
            done; claims that could not be checked count neither way.
    """

    act: Act = "keep"
    verdicts: Annotated[tuple[Literal["unseen", "contradicted"], ...], Field(min_length=1)] = (
        "unseen",
        "contradicted",
    )
    weight: float = Field(0.2, gt=0, lt=1)
    sentence: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\w")] = "that cannot be seen."
    drop_below: float = Field(0.0, ge=0, le=1)

    @property
    def changes(self) -> bool:
        """Whether anything is learned otherwise than it is written."""
        return self.act != "keep" or self.drop_below > 0

    @property
    def weighs(self) -> bool:
        """Whether single tokens count otherwise."""
        return self.changes and self.act not in _TEXT_CHANGES and self.act != "keep"

    @model_validator(mode="after")
    def _its_own(self) -> Unsupported:
        for name, act in (("weight", "weight"), ("sentence", "not_visible")):
            # What a run writes down of its recipe names every field.
            if getattr(self, name) != type(self).model_fields[name].default and self.act != act:
                raise ValueError(f"`{name}` is for `act: {act}`, not for `{self.act}`")
        return self


def _spelled_out(value: Any) -> Any:
    """A word alone stands for `{act: word}`."""
    return {"act": value} if isinstance(value, str) else value


Switch = Annotated[Unsupported, BeforeValidator(_spelled_out)]
"""Written as a word or as a mapping."""
