"""Decodes some pictures ahead of their conversion, because taking turns costs cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vidapt.video.pick import Shown

HELD_PIXELS = 2**24
"""Pixels held before they are converted: 24 MB where colour is 4:2:0; a larger picture is held alone."""


def in_bursts(pictures: Iterable[Shown]) -> Iterator[Shown]:
    """Yield the same pictures in the same order, many of them decoded before the first is handed on.

    When every picture is converted as soon as it is decoded, each conversion pushes the pictures the
    decoder refers to out of the processor's cache, and decoding the next one is slower for it.
    """
    held: list[Shown] = []
    pixels = 0
    for shown in pictures:
        held.append(shown)
        pixels += shown.frame.width * shown.frame.height
        if pixels >= HELD_PIXELS:
            yield from held
            held, pixels = [], 0
    yield from held
