"""Answers in which a teacher says that it will not or cannot, in the words that models use.

A phrase counts where a sentence begins with it, and not in quotation marks, so that a film in which somebody
says "I can't help you" keeps its caption. Source: phrases of `refusals.yaml`, as assistants word their
refusals; the approach is that of the refusal filters of instruction data (Xu et al. 2023, arXiv 2304.12244).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from vidapt.cleaning.checks._words import shown
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.labelling.refusals import refusal
from vidapt.parts import PartConfig


class Part:
    """Sets refusals aside."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            shipped: Look for the phrases that come with vidapt.
            also: Further phrases; `…` stands for up to six words.
        """

        shipped: bool = True
        also: tuple[Annotated[str, Field(min_length=3, max_length=200)], ...] = ()

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge each label by itself."""
        for label in labels:
            found = refusal(label.text, self.cfg.also, shipped=self.cfg.shipped)
            yield KEEP if found is None else drop(f"refuses: {shown(found)}", again=True)


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
