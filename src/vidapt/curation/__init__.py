"""Data sets before anything is learned from them: what is wrong, what they hold once or twice, their parts.

>>> from vidapt.curation import check
>>> report = check(["labels.jsonl"])  # doctest: +SKIP
"""

from vidapt.curation.check import check
from vidapt.curation.cut import CutBy, CutFilms, cut
from vidapt.curation.dedup import Deduped, dedup
from vidapt.curation.findings import Blind, Finding, Report
from vidapt.curation.split import Split, split
from vidapt.curation.stats import Stats, stats

__all__ = [
    "Blind",
    "CutBy",
    "CutFilms",
    "Deduped",
    "Finding",
    "Report",
    "Split",
    "Stats",
    "check",
    "cut",
    "dedup",
    "split",
    "stats",
]
