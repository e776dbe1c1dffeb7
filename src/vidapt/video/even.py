"""Where films are cut into stretches of equal length."""

from __future__ import annotations

from collections.abc import Iterator

_REST = 0.1
"""What is left at the end of a film belongs to the stretch before it if it is no more than this part of one:
a film of 60.04 s is one minute."""


def even_cuts(length: float, step: float, overlap: float = 0.0) -> Iterator[float]:
    """Moments at which a film is cut every `step` seconds.

    Args:
        length: Of the film.
        step: From one cut to the next.
        overlap: Seconds for which each stretch goes on behind its end, which the last one has to go beyond.

    >>> list(even_cuts(150, 60)), list(even_cuts(123, 60)), list(even_cuts(123, 60, 4))
    ([60.0, 120.0], [60.0], [60.0])
    """
    number = 1
    while length - number * step > max(overlap, _REST * step):
        yield float(number * step)
        number += 1
