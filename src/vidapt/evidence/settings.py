"""What a user may say about evidence: thresholds, and which words tell facts.

Importing this module imports no torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vidapt.strict import Strict

Null = Literal["other", "falsified"]


class Settings(Strict):
    """When a clip bears a claim out.

    Attributes:
        supported: Evidence from which on a claim is supported, in nats. Source of 0.5: a simulation with a
            captioner of 79,000 parameters on features with visible and invisible facts, where it gave 98 %
            precision and 97 % recall; `calibrate` fits it to a model and its labels.
        contradicted: Evidence up to which a claim is contradicted.
        rival: A claim is contradicted, too, where another word is so many times likelier than one of its
            values, and is itself supported.
        calibrate: What claims that are not true of a clip look like: those of `other` clips, or copies with
            one fact `falsified` by the lexicon. None takes `supported` as it is.
        false_alarms: Share of these that may be taken for supported.
        least: Claims of a type that are needed to give it a threshold of its own.
        telling: Checked claims of a type that are needed to say that the model does not see it.
    """

    supported: float = Field(0.5, ge=0, le=100)
    contradicted: float = Field(-0.5, ge=-100, le=0)
    rival: float = Field(20.0, gt=1, le=1e9)
    calibrate: Null | None = None
    false_alarms: float = Field(0.05, gt=0, lt=1)
    least: int = Field(50, ge=10, le=1_000_000)
    telling: int = Field(10, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _something_between(self) -> Settings:
        if self.supported == self.contradicted:
            raise ValueError("`supported` and `contradicted` are both 0, and nothing would be unseen")
        return self
