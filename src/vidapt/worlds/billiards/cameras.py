"""Where a venue's camera sees the table."""

from __future__ import annotations

import numpy as np

from vidapt.worlds import cameras
from vidapt.worlds.billiards.table import HEIGHT, WIDTH
from vidapt.worlds.billiards.venues import Venue


def homography(venue: Venue) -> np.ndarray:
    """Return the [3, 3] map from metres on the table to pixels, both homogeneous."""
    return cameras.homography(cameras.View(venue.size, (WIDTH, HEIGHT), venue.corners))
