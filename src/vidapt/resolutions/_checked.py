"""What a resolution refuses before it plans or cuts."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from vidapt.nouns import Plan
from vidapt.resolutions._one_by_one import OneByOne
from vidapt.resolutions._resize import check_frames, check_plan


class Checked(OneByOne, ABC):
    """A resolution that plans sizes a file can have, and cuts pixels that the plan was made for."""

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """Plan a clip.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many frames will be decoded.

        Raises:
            ValueError: If a side or `frames` is not positive, or the resolution takes no such frame.
        """
        check_plan(size, frames)
        return self._plan(size, frames)

    def cut(self, pixels: Tensor, plan: Plan) -> list[Tensor]:
        """Cut the planned views.

        Args:
            pixels: [T, H, W, 3] uint8.
            plan: What `plan` gave for this clip.

        Returns:
            One [T, 3, h, w] uint8 tensor per view.

        Raises:
            ValueError: If the pixels are not what was planned for.
        """
        check_frames(pixels, plan)
        return self._cut(pixels.permute(0, 3, 1, 2), plan)

    @abstractmethod
    def _plan(self, size: tuple[int, int], frames: int) -> Plan:
        """The plan of a clip of sound sizes."""

    @abstractmethod
    def _cut(self, frames: Tensor, plan: Plan) -> list[Tensor]:
        """[T, 3, H, W] uint8 -> the views of the plan; what it is given is no copy of the pixels."""
