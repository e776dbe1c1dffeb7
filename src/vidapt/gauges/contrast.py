"""What an encoder that compares tells apart: true texts of a clip from falsified copies.

The gauge is the mean over clips of the area under the curve: how often a true text is nearer to its clip than
a false one, a tie counting half. Margins of scores depend on their scale and grow with training alone; the
area does not. With the clip's frames in another order it should be lower wherever the texts tell of an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np


def area(true: Sequence[float], false: Sequence[float]) -> float | None:
    """Share of pairs whose true one is higher, a tie counting half; None without pairs.

    Source: Mann and Whitney 1947; equal to the area under the receiver's curve.
    """
    if not len(true) or not len(false):
        return None
    gaps = np.subtract.outer(np.asarray(true, dtype=np.float64), np.asarray(false, dtype=np.float64))
    return float((np.sign(gaps) / 2 + 0.5).mean())


def mean_area(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """Mean over clips of those that have both; None without any."""
    known = [found for true, false in pairs if (found := area(true, false)) is not None]
    return fmean(known) if known else None
