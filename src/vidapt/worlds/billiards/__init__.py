"""Simulated billiards: exact physics, filmed in several venues, with everything that happened written down.

`simulate` writes a data set of mp4 clips with labels and truth; `sample_clip` makes one clip in memory.
"""

from __future__ import annotations

from vidapt.worlds.asked import QA
from vidapt.worlds.billiards.claims import (
    Claim,
    changeable,
    difference,
    false_statements,
    falsify,
    judge,
    parse,
    story,
)
from vidapt.worlds.billiards.clips import sample_clip
from vidapt.worlds.billiards.dataset import load_records, simulate
from vidapt.worlds.billiards.events import Event, Record
from vidapt.worlds.billiards.questions import QUESTION_TYPES, ask
from vidapt.worlds.billiards.styles import STYLES
from vidapt.worlds.billiards.venues import VENUES, Venue, find_venue
from vidapt.worlds.verdict import Verdict

__all__ = [
    "QA",
    "QUESTION_TYPES",
    "STYLES",
    "VENUES",
    "Claim",
    "Event",
    "Record",
    "Venue",
    "Verdict",
    "ask",
    "changeable",
    "difference",
    "false_statements",
    "falsify",
    "find_venue",
    "judge",
    "load_records",
    "parse",
    "sample_clip",
    "simulate",
    "story",
]
