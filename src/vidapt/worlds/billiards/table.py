"""The table: sizes in metres, origin at the bottom left corner of the cloth, x to the right, y upwards.

The balls are larger than on a real two-metre table (4 cm radius against 2.6 cm), so that each still
covers a few pixels in small footage.
"""

from __future__ import annotations

import numpy as np

WIDTH = 2.0
HEIGHT = 1.0
BALL_RADIUS = 0.04
SLOTS = 8
"""Balls a table can hold: slot 0 is the white ball, 1 to 7 are a venue's coloured balls."""

POCKETS = ("top left", "top middle", "top right", "bottom left", "bottom middle", "bottom right")
SIDES = ("left", "right", "bottom", "top")

POCKET_CENTRES = np.array(
    [[0.0, HEIGHT], [WIDTH / 2, HEIGHT + 0.02], [WIDTH, HEIGHT], [0.0, 0.0], [WIDTH / 2, -0.02], [WIDTH, 0.0]]
)
POCKET_RADII = np.array([0.085, 0.075, 0.085, 0.085, 0.075, 0.085])
MOUTH = 0.02
"""How far beyond a pocket's radius the cushions are cut away."""

FPS = 10
FRAMES = 36
STRIKE_S = 0.4
"""When the cue meets the white ball, in seconds from the first frame."""
