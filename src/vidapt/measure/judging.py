"""Who says whether a text's claims are true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from vidapt.errors import FormatError
from vidapt.metrics.claims import ClaimCounts
from vidapt.nouns import Clip
from vidapt.worlds.dataset import EVENTS
from vidapt.worlds.known import World, world_of
from vidapt.worlds.verdict import Verdict

Mark = Literal["true", "false", "mixed", "unread"]
"""A sentence whose claims are all true, all false or some of each, or that holds none the judge can read."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class ClaimJudge(Protocol):
    """Knows the truth about clips."""

    def __call__(self, clip: Clip, text: str) -> ClaimCounts:
        """Count what `text` claims about `clip`.

        Raises:
            VidaptError: If nothing is known about the clip.
        """


def marked(judge: ClaimJudge, clip: Clip, text: str) -> tuple[tuple[str, Mark], ...]:
    """Split a text into sentences and say of each what its claims amount to."""
    sentences = (sentence.strip() for sentence in _SENTENCE_END.split(text))
    return tuple((sentence, _mark(judge(clip, sentence))) for sentence in sentences if sentence)


def _mark(counts: ClaimCounts) -> Mark:
    if counts.contradicted:
        return "mixed" if counts.supported else "false"
    return "true" if counts.supported else "unread"


class _WorldJudge:
    """Checks texts against the log of a simulated data set, whose clips are named by their numbers."""

    def __init__(self, world: World, events: Path) -> None:
        self._world, self._events = world, events
        self._records = {f"{record.index:06d}": record for record in world.load_records(events)}

    def verdict(self, clip: Clip, text: str) -> Verdict[Any]:
        """What the log says of each claim."""
        record = self._records.get(clip.path.stem)
        if record is None:
            raise FormatError(
                self._events, f"has no events of the clip {clip.path.name}", "simulate the data again"
            )
        return self._world.judge(text, record)

    def __call__(self, clip: Clip, text: str) -> ClaimCounts:
        verdict = self.verdict(clip, text)
        return ClaimCounts(
            supported=len(verdict.supported),
            contradicted=len(verdict.false),
            unparsed=len(verdict.unparsed),
            recalled=len(verdict.recalled),
            salient=len(verdict.salient),
        )


def world_judge(folder: Path) -> ClaimJudge | None:
    """Return a judge of texts about a simulated world, from the log in a data set's folder.

    Args:
        folder: Where the labels lie.

    Returns:
        None if the folder holds no simulated world; then nothing is known of what happened in its clips.

    Raises:
        FormatError: If the log cannot be read.
    """
    world = world_of(folder)
    return None if world is None else _WorldJudge(world, folder / EVENTS)


def world_verdicts(folder: Path) -> Callable[[Clip, str], Verdict[Any]] | None:
    """The same, claim by claim.

    Raises:
        FormatError: If the log cannot be read.
    """
    world = world_of(folder)
    return None if world is None else _WorldJudge(world, folder / EVENTS).verdict
