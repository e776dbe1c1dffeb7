"""One view per frame: the frame padded to a square with one colour, then resized.

Source: `image_aspect_ratio: pad` of LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744), which fills with the
mean colour CLIP was trained with, so that the padding is near zero after normalising.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidapt.nouns import Plan, View
from vidapt.resolutions._checked import Checked
from vidapt.resolutions._prune import PrunedConfig
from vidapt.resolutions._resize import NARROW, Filter, resize


class Part(Checked):
    """Cut one padded view of the tower's native size from every frame.

    Args:
        cfg: Colour and filter.
        size: (height, width) of the tower, in pixels.
        width: Of the language model; nothing is learned here.
    """

    class Config(PrunedConfig):
        """Colour and filter.

        Attributes:
            colour: Red, green and blue of the padding, 0 to 255. The default is CLIP's mean.
            filter: Resampling filter.
        """

        colour: tuple[int, int, int] = (122, 116, 104)
        filter: Filter = "bicubic"

    def __init__(self, cfg: Config, *, size: tuple[int, int], width: int = 0) -> None:
        self.cfg, self.size = cfg, size

    def _plan(self, size: tuple[int, int], frames: int) -> Plan:
        return Plan(frames, (View(self.size),), size)

    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        # One frame at a time: the square of a wide frame is much larger than the frame.
        return [torch.cat([self._square(frame[None]) for frame in frames])]

    def _square(self, frame: Tensor) -> Tensor:
        height, width = frame.shape[-2:]
        side = max(height, width)
        if side > NARROW * min(height, width):
            # Padding a strip first would take its length squared; shrunk first, it looks the same.
            side = max(self.size)
            shrunk = (max(1, side * height // max(height, width)), max(1, side * width // max(height, width)))
            frame = resize(frame, shrunk, self.cfg.filter)
        return resize(self._pad(frame, side), self.size, self.cfg.filter)

    def _pad(self, frame: Tensor, side: int) -> Tensor:
        height, width = frame.shape[-2:]
        square = torch.tensor(self.cfg.colour, dtype=torch.uint8).view(1, 3, 1, 1).repeat(1, 1, side, side)
        top, left = (side - height) // 2, (side - width) // 2
        square[..., top : top + height, left : left + width] = frame
        return square


def tiny() -> Part:
    """The smallest sensible instance: views of 8 x 8 pixels."""
    return Part(Part.Config(), size=(8, 8))
