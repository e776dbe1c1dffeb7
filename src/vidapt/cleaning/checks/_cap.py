"""Keeping some of many labels, whatever the order of their rows."""

from __future__ import annotations

from collections.abc import Sequence

from vidapt.cleaning.labels import Label
from vidapt.digests import seed_of


def beyond(places: Sequence[int], labels: Sequence[Label], most: int) -> list[int]:
    """Those of some labels that are not among as many as are kept, by a draw on their ids."""
    if len(places) <= most:
        return []
    return sorted(places, key=lambda place: _draw(labels[place]))[most:]


def _draw(label: Label) -> tuple[int, str, int]:
    return seed_of(label.sample.id, label.place), label.sample.id, label.place
