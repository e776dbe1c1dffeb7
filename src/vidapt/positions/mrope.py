"""Positions of three axes: time, row and column for pieces of a clip, three equal numbers for a word.

Source: multimodal rotary positions of Qwen2-VL (Wang et al. 2024, arXiv 2409.12191, section 2.1); aligned to
absolute time in Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923, section 2.1.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.nouns import Grid, Timed
from vidapt.parts import PartConfig

_TICK = 0.01
"""Of a position: files stamp frames in ticks, so what is a whole second may be told as a little less."""


class Part:
    """Multimodal rotary positions, three axes.

    Args:
        cfg: What the axis of time counts, and whose rule holds behind a clip.
    """

    class Config(PartConfig):
        """What the axis of time counts, and whose rule holds behind a clip.

        Attributes:
            per_second: How far a second takes the axis of time within a clip, rounded down for each slice.
                Where a clip's moments are not known, its slices count as a second apart, as transformers
                takes them. None counts slices.
            compat: None goes on behind the largest position of the clip on any axis, as the paper does and
                the model was trained. `published` goes on behind its height or width only, as
                transformers 5.23 numbers a prompt; behind a clip of many frames words then have positions
                that the clip has already used.
        """

        per_second: Annotated[float, Field(gt=0)] | None = None
        compat: Literal["published"] | None = None

    axes = 3

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def ids(self, spans: Sequence[int | tuple[Grid, int] | Timed], start: float = 0) -> tuple[Tensor, float]:
        """Number the tokens of a sequence.

        Args:
            spans: In order: the length of a stretch of text, or the grid and extra tokens of a clip, with or
                without the second at which each of its slices begins; the extra ones are numbered like text
                behind the clip.
            start: Position of the first token; what an earlier call returned continues it.

        Returns:
            [3, L] int64 positions (time, row, column), and the position of the token that would come next.

        Raises:
            ValueError: If a span is negative, or seconds are given for another number of slices, or run
                backwards.
        """
        at = int(start)
        pieces = [torch.zeros(3, 0, dtype=torch.long)]
        for span in spans:
            words = span if isinstance(span, int) else span[1]
            if not isinstance(span, int):
                grid = span[0]
                times = self._times(grid, span[2] if len(span) == 3 else ())
                pieces.append(_cells(grid, times) + at)
                at += self._advance(grid, times)
            if words < 0:
                raise ValueError(f"a span cannot have a negative length: {words}")
            pieces.append((torch.arange(words) + at).expand(3, -1))
            at += words
        return torch.cat(pieces, dim=1), at

    def _times(self, grid: Grid, seconds: tuple[float, ...]) -> Tensor:
        """[t]: where each slice of a clip stands on the axis of time, from 0 up."""
        if self.cfg.per_second is None:
            return torch.arange(grid.t)
        if seconds and len(seconds) != grid.t:
            raise ValueError(f"{len(seconds)} seconds are given for {grid.t} slices")
        since = torch.tensor(seconds or range(grid.t), dtype=torch.float64)
        since = since - since[0]
        if (since.diff() < 0).any():
            raise ConfigError(
                "blueprint.frames",
                f"the frames of a clip run backwards, at {list(seconds)} s, and positions tell time here",
                "name moments in their order",
            )
        return (since * self.cfg.per_second + _TICK).floor().long()

    def _advance(self, grid: Grid, times: Tensor) -> int:
        """How far a clip takes the count."""
        longest = max(grid.h, grid.w)
        return longest if self.cfg.compat == "published" else max(int(times[-1]) + 1, longest)


def _cells(grid: Grid, times: Tensor) -> Tensor:
    """[3, t * h * w]: time, row and column of every cell in natural order."""
    axes = [times, torch.arange(grid.h), torch.arange(grid.w)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def tiny() -> Part:
    """The smallest sensible instance: the paper's rule."""
    return Part(Part.Config())
