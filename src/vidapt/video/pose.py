"""How the stored frames of a clip are shown: which way up, and how wide. One way for a whole clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame

from vidapt.video.container import Source

_MOST_ASPECT = 8
"""Pixels more than so many times wider than high, or the reverse, are taken for a mistake and ignored."""

_SQUARE = Fraction(1, 100)
"""Pixels this close to square are: encoders round, and a picture is not resampled for one column."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored frame becomes an upright one: transposed, then rows flipped, then columns flipped."""

    transposed: bool = False
    flip_y: bool = False
    flip_x: bool = False


UPRIGHT = Turn()


@dataclass(frozen=True, slots=True)
class Pose:
    """How the frames of a clip are shown.

    Attributes:
        turn: Which way up.
        aspect: Width of a stored pixel by its height.
    """

    turn: Turn = UPRIGHT
    aspect: Fraction = Fraction(1)

    @property
    def quarter_turns(self) -> int:
        """Counter-clockwise quarter turns that lead from the stored frame to the shown one, flips aside."""
        if self.turn.transposed:
            return 1 if self.turn.flip_y else 3
        return 2 if self.turn.flip_y and self.turn.flip_x else 0

    def shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """(height, width) of a frame as it is shown.

        Where pixels are not square, the shorter of their sides is drawn out, so that nothing is lost.
        """
        height, width = frame.height, frame.width
        if self.aspect > 1:
            width = max(1, round(width * self.aspect))
        else:
            height = max(1, round(height / self.aspect))
        return (width, height) if self.turn.transposed else (height, width)


SQUARE_AND_UPRIGHT = Pose()


def pose_of(source: Source, frame: VideoFrame) -> Pose:
    """How a frame that was just decoded is shown.

    Args:
        source: The file it is of.
        frame: One of its frames.
    """
    return Pose(turn_of(frame), aspect_of(source))


def turn_of(frame: VideoFrame) -> Turn:
    """Which way up one frame is.

    The display matrix maps a stored point (x, y) to (a x + c y, b x + d y); rows of three 16.16 numbers.
    An angle that is not a multiple of 90 degrees is rounded to one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(memoryview(cast("Buffer", matrix)), np.int32, count=5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(True, b < 0, c < 0)
    return Turn(False, d < 0, a < 0)


def aspect_of(source: Source) -> Fraction:
    """Width of a pixel by its height: as the container says, else the codec once a frame was decoded."""
    stream = source.stream
    told = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if not Fraction(1, _MOST_ASPECT) <= told <= _MOST_ASPECT or abs(told - 1) <= _SQUARE:
        return Fraction(1)
    return told
