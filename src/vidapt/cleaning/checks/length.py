"""Texts that are much shorter or longer than those of their kind.

Bounds are taken from the labels themselves, for each type of question alone: a caption of one letter is
broken, and an answer of one letter may be right. Source: quantiles with a margin, after Tukey's fences (Tukey
1977, "Exploratory Data Analysis"), as a factor, because lengths are skewed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field, model_validator

from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.metrics.question_types import question_types
from vidapt.parts import PartConfig


class Part:
    """Sets texts aside whose length is outside of what is usual."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            low: Quantile of lengths, in letters.
            high: Another one.
            times: A text may be so many times shorter than the one and longer than the other.
            least: Labels of a type from which on it has bounds.
        """

        low: float = Field(0.05, ge=0, lt=0.5)
        high: float = Field(0.95, gt=0.5, le=1)
        times: float = Field(3.0, ge=1.2, le=100)
        least: int = Field(20, ge=2, le=1_000_000)

        @model_validator(mode="after")
        def _tells(self) -> Part.Config:
            if self.low == 0 and self.high == 1:
                raise ValueError("`low: 0` with `high: 1` drops nothing; leave the check out")
            return self

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by the lengths of all of their type; empty texts are always set aside."""
        singles = [label.single for label in labels]
        types = question_types(singles)
        kinds = [types.of(one) for one in singles]
        lengths: dict[str, list[int]] = defaultdict(list)
        for kind, label in zip(kinds, labels, strict=True):
            lengths[kind].append(len(label.text.strip()))
        bounds = {kind: self._bounds(found) for kind, found in lengths.items()}
        for kind, label in zip(kinds, labels, strict=True):
            length, (low, high) = len(label.text.strip()), bounds[kind]
            if not length:
                yield drop("is empty", again=True)
            elif not low <= length <= high:
                usual = f"texts of {kind!r} have {low:.0f} to {high:.0f}"
                yield drop(f"has {length} letters, and {usual}", again=True)
            else:
                yield KEEP

    def _bounds(self, lengths: Sequence[int]) -> tuple[float, float]:
        if len(lengths) < self.cfg.least:
            return 0.0, float("inf")
        low, high = np.quantile(lengths, [self.cfg.low, self.cfg.high]).tolist()
        return low / self.cfg.times, high * self.cfg.times


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
