"""Texts in which the teacher went round in a circle.

Three signs: the same words several times without a break; most sequences of four words said before; a text
that packs much too well. Source: the compression ratio is that of Whisper (Radford et al. 2022, arXiv
2212.04356), which takes such answers for failed; repeated n-grams as in Holtzman et al. 2020, arXiv
1904.09751.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vidapt.cleaning.checks._words import pieces, shown
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop
from vidapt.parts import PartConfig

_LONGEST_UNIT = 64
"""Words of the longest unit whose repetition is looked for."""


class Part:
    """Sets loops aside."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            in_a_row: So many times the same words without a break are a loop.
            gram: Words of a sequence.
            repeated: Share of sequences that were there before, from which on it is a loop.
            least: Words of the shortest text of which that share is taken.
            compression: Bytes over packed bytes, from which on it is a loop.
            least_bytes: Of the shortest text that is packed.
        """

        in_a_row: int = Field(4, ge=2, le=1000)
        gram: int = Field(4, ge=1, le=32)
        repeated: float = Field(0.75, gt=0, le=1)
        least: int = Field(24, ge=2, le=10_000)
        compression: float = Field(6.0, gt=1, le=1000)
        least_bytes: int = Field(256, ge=32, le=1_000_000)

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge each label by itself."""
        for label in labels:
            yield self._judged(label.text)

    def _judged(self, text: str) -> Verdict:
        said = pieces(text)
        numbers = {word: number for number, word in enumerate(dict.fromkeys(said))}
        row = np.array([numbers[word] for word in said], np.int64)
        unit = _in_a_row(row, self.cfg.in_a_row)
        if unit is not None:
            start, length = unit
            words = shown(" ".join(said[start : start + length]))
            return drop(f"says {words} {self.cfg.in_a_row} times in a row", again=True)
        share = _repeated(row, self.cfg.gram) if len(row) >= self.cfg.least else 0.0
        if share >= self.cfg.repeated:
            return drop(f"{share:.0%} of its {self.cfg.gram} words in a row were said before", again=True)
        data = text.encode("utf-8", "surrogatepass")
        if len(data) >= self.cfg.least_bytes:
            ratio = len(data) / len(zlib.compress(data))
            if ratio >= self.cfg.compression:
                return drop(f"packs {ratio:.1f} times smaller", again=True)
        return KEEP


def _in_a_row(row: NDArray[np.int64], times: int) -> tuple[int, int] | None:
    """Where a unit of words begins that comes so many times without a break, and its length."""
    for length in range(1, min(_LONGEST_UNIT, len(row) // times) + 1):
        breaks = np.flatnonzero(row[length:] != row[:-length])
        edges = np.concatenate(([-1], breaks, [len(row) - length]))
        runs = np.diff(edges) - 1
        longest = int(runs.argmax())
        if runs[longest] >= length * (times - 1):
            return int(edges[longest]) + 1, length
    return None


def _repeated(row: NDArray[np.int64], gram: int) -> float:
    """Share of sequences that stood in the text before."""
    count = len(row) - gram + 1
    if count < 1:
        return 0.0
    grams = np.lib.stride_tricks.sliding_window_view(row, gram)
    return 1 - len(np.unique(grams, axis=0)) / count


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
