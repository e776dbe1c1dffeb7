"""Every token counts one, whether it is a word or a piece of a clip.

Source: how LLaVA and its video descendants number their tokens for rotary positions (Su et al. 2021,
arXiv 2104.09864); `factor` is linear position scaling (Chen et al. 2023, arXiv 2306.15595), with which
LLaVA-NeXT-Video reads more frames than its language model was trained for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from vidapt.nouns import Grid
from vidapt.parts import PartConfig


class Part:
    """Plain and linearly scaled positions, one axis.

    Args:
        cfg: The scaling factor.
    """

    class Config(PartConfig):
        """The scaling factor.

        Attributes:
            factor: Positions advance by 1 / factor per token. 1 gives integer positions.
        """

        factor: float = Field(default=1.0, ge=1.0)

    axes = 1

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def ids(self, spans: Sequence[int | tuple[Grid, int]], start: float = 0) -> tuple[Tensor, float]:
        """Number the tokens of a sequence.

        Args:
            spans: In order: the length of a stretch of text, or the grid and extra tokens of a clip.
            start: Position of the first token; what an earlier call returned continues it.

        Returns:
            [1, L] positions, int64 where every one is whole by construction and float32 otherwise; and
            the position of the token that would come next.

        Raises:
            ValueError: If a span is negative.
        """
        lengths = [span if isinstance(span, int) else span[0].cells + span[1] for span in spans]
        if any(length < 0 for length in lengths):
            raise ValueError(f"a span cannot have a negative length: {lengths}")
        total, factor = sum(lengths), self.cfg.factor
        steps = torch.arange(total)
        after = start + total / factor
        if factor == 1.0 and float(start).is_integer():
            return (steps + int(start))[None], after
        return (start + steps.double() / factor).float()[None], after


def tiny() -> Part:
    """The smallest sensible instance: no scaling."""
    return Part(Part.Config())
