"""Simulated shapes that move on a field: the procedural mix that the shipped tower learns to see from.

`simulate` writes a data set of mp4 clips with labels and truth; `sample_clip` makes one clip in memory.
"""

from __future__ import annotations

from vidapt.worlds.asked import QA
from vidapt.worlds.phrases import Claim
from vidapt.worlds.shapes.claims import (
    changeable,
    difference,
    false_statements,
    falsify,
    story,
)
from vidapt.worlds.shapes.clips import sample_clip
from vidapt.worlds.shapes.dataset import load_records, simulate
from vidapt.worlds.shapes.events import Event, Record
from vidapt.worlds.shapes.judge import judge, parse
from vidapt.worlds.shapes.questions import QUESTION_TYPES, ask
from vidapt.worlds.shapes.styles import STYLES
from vidapt.worlds.shapes.venues import VENUES, Venue, find_venue
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
