"""How answers are chosen, and what was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vidapt.errors import ConfigError
from vidapt.models.sampling import ByEntropy, Cooling, Heat

Told = Callable[[int, int], bool]
"""Is told every token that is written: the number of its answer, counted through all groups, and the id.
Says whether the answer is still wanted; one that is not ends there."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: Longest answer.
        temperature: 0 is greedy; otherwise logits are divided by it and sampled.
        top_p: Sample only from the likeliest tokens that together have this probability (Holtzman et
            al., 2020, "The Curious Case of Neural Text Degeneration").
        seed: Of the sampling.
        min_p: Sample only from tokens that are at least so likely, as a share of the likeliest.
        top_h: Sample only from the likeliest tokens that make up this share of the entropy.
        heat: What makes the temperature move from token to token; None leaves it as it is.

    Raises:
        ConfigError: If a number makes no sense.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    top_h: float = 1.0
    heat: Heat | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(
                "max_new_tokens", f"an answer of {self.max_new_tokens} tokens", "give 1 or more"
            )
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(
                "temperature", f"{self.temperature} is no temperature", "give 0 (greedy) or more"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(
                "top_p", f"{self.top_p} is no probability to keep", "give a number above 0, up to 1"
            )
        if not 0 <= self.min_p <= 1:
            raise ConfigError("min_p", f"{self.min_p} is no share", "give a number from 0 (all) to 1")
        if not 0 < self.top_h <= 1:
            raise ConfigError(
                "top_h", f"{self.top_h} is no share of an entropy", "give a number above 0, up to 1 (all)"
            )
        if isinstance(self.heat, ByEntropy) and not self.temperature:
            raise ConfigError("temperature", "is 0, which entropy cannot make warmer", "give one above 0")

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0 and not (isinstance(self.heat, Cooling) and self.heat.first > 0)

    @property
    def manner(self) -> Decoding:
        """The same for whatever length and seed: tokens of one manner are drawn together."""
        return replace(self, max_new_tokens=1, seed=0)

    @property
    def settings(self) -> dict[str, Any]:
        """What the answers depend on, as JSON holds it; what decoding does not read is left out."""
        if self.greedy:
            return {"max_new_tokens": self.max_new_tokens}
        always = {"max_new_tokens", "temperature", "top_p", "seed"}
        told = asdict(self) | {"heat": self.heat and self.heat.model_dump()}
        own = {name: told[name] for name in told if name in always or told[name] != getattr(Decoding, name)}
        return own


@dataclass(frozen=True)
class Answer:
    """An answer as it was chosen.

    Attributes:
        ids: Its tokens without the end mark.
        ended: Whether it ended by itself.
        logprob: Mean natural logarithm of the probabilities that the model gave the tokens, the end mark
            among them, before any temperature. Its last digits depend on what else is in the batch.
    """

    ids: tuple[int, ...]
    ended: bool
    logprob: float = field(default=0.0, compare=False)
