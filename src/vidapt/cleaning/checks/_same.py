"""Rows that ask the same of the same clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vidapt.cleaning.labels import Label
from vidapt.metrics.match import normalise


def asked_alike(labels: Sequence[Label]) -> list[list[int]]:
    """Places of labels that answer one question about one clip, where there are several.

    Conversations and further answers are none of them: what they say depends on what was said before.
    """
    asked: dict[object, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        if label.place == 1 and len(label.sample.turns) == 2 and label.sample.media:
            about = tuple((str(clip.path), clip.start_s, clip.end_s) for clip in label.sample.media)
            asked[about, normalise(label.question)].append(place)
    return [places for places in asked.values() if len(places) > 1]
