"""A simulated factory line: parts on belts, filmed in several venues, with all that happened written down.

`simulate` writes a data set of mp4 clips with labels and truth; `sample_clip` makes one clip in memory.
"""

from __future__ import annotations

from vidapt.worlds.asked import QA
from vidapt.worlds.conveyor.claims import (
    changeable,
    difference,
    false_statements,
    falsify,
    story,
)
from vidapt.worlds.conveyor.clips import sample_clip
from vidapt.worlds.conveyor.dataset import load_records, simulate
from vidapt.worlds.conveyor.events import Event, Record
from vidapt.worlds.conveyor.judge import judge, parse
from vidapt.worlds.conveyor.questions import QUESTION_TYPES, ask
from vidapt.worlds.conveyor.styles import STYLES
from vidapt.worlds.conveyor.venues import VENUES, Venue, find_venue
from vidapt.worlds.phrases import Claim
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
