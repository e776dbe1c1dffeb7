"""Positions of three axes: time, row and column for pieces of a clip, three equal numbers for a word.

Source: multimodal rotary positions of Qwen2-VL (Wang et al. 2024, arXiv 2409.12191, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vidapt.nouns import Grid
from vidapt.parts import PartConfig


class Part:
    """Multimodal rotary positions, three axes.

    Args:
        cfg: Whose rule holds behind a clip.
    """

    class Config(PartConfig):
        """Whose rule holds behind a clip.

        Attributes:
            compat: None goes on behind the largest position of the clip on any axis, as the paper does and
                the model was trained. `published` goes on behind its height or width only, as
                transformers 5.23 numbers a prompt; behind a clip of many frames words then have positions
                that the clip has already used.
        """

        compat: Literal["published"] | None = None

    axes = 3

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def ids(self, spans: Sequence[int | tuple[Grid, int]], start: float = 0) -> tuple[Tensor, float]:
        """Number the tokens of a sequence.

        Args:
            spans: In order: the length of a stretch of text, or the grid and extra tokens of a clip; the
                extra ones are numbered like text behind the clip.
            start: Position of the first token; what an earlier call returned continues it.

        Returns:
            [3, L] int64 positions (time, row, column), and the position of the token that would come next.

        Raises:
            ValueError: If a span is negative.
        """
        at = int(start)
        pieces = [torch.zeros(3, 0, dtype=torch.long)]
        for span in spans:
            grid, words = (None, span) if isinstance(span, int) else span
            if grid is not None:
                pieces.append(_cells(grid) + at)
                at += self._advance(grid)
            if words < 0:
                raise ValueError(f"a span cannot have a negative length: {words}")
            pieces.append((torch.arange(words) + at).expand(3, -1))
            at += words
        return torch.cat(pieces, dim=1), at

    def _advance(self, grid: Grid) -> int:
        """How far a clip takes the count."""
        return max(grid.h, grid.w) if self.cfg.compat == "published" else max(grid.t, grid.h, grid.w)


def _cells(grid: Grid) -> Tensor:
    """[3, t * h * w]: time, row and column of every cell in natural order."""
    axes = [torch.arange(side) for side in (grid.t, grid.h, grid.w)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def tiny() -> Part:
    """The smallest sensible instance: the paper's rule."""
    return Part(Part.Config())
