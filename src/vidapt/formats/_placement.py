"""Where several clips of a conversation are read: where it names them, or in front of all of it.

Source: LLaVA-NeXT-Interleave (Li et al. 2024, arXiv 2407.07895), which trains on both; a mix of them was best
whichever way questions were written.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Literal

from vidapt.digests import digest
from vidapt.nouns import MEDIA, Sample, Turn

Placement = Literal["as_written", "front", "mixed"]


def placed(sample: Sample, how: Placement) -> Sample:
    """A conversation with its clips where they are to be read.

    Args:
        sample: Whose turns may mark the places of clips.
        how: `front` reads all clips before the first words, and writes `Image 1` and so on where they stood.
            `mixed` does so with half of the combinations of clips, by a digest of what they are.
    """
    if how == "as_written" or len(sample.media) < 2 or not any(MEDIA in turn.text for turn in sample.turns):
        return sample
    if how == "mixed" and int(digest([[str(c.path), c.start_s, c.end_s] for c in sample.media], 8), 16) % 2:
        return sample
    numbers = itertools.count(1)

    def named(turn: Turn) -> Turn:
        return replace(turn, text=re.sub(MEDIA, lambda _: f"Image {next(numbers)}", turn.text))

    turns = [named(turn) for turn in sample.turns]
    first = next(at for at, turn in enumerate(turns) if turn.role == "user")
    lead = "".join(f"Image {number}: {MEDIA}\n" for number in range(1, len(sample.media) + 1))
    turns[first] = replace(turns[first], text=lead + turns[first].text)
    return replace(sample, turns=tuple(turns))
