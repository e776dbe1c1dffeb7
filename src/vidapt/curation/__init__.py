"""Data sets before anything is learned from them: what is wrong with one, what is in it, how to divide it.

>>> from vidapt.curation import check
>>> report = check(["labels.jsonl"])  # doctest: +SKIP
"""

from vidapt.curation.check import check
from vidapt.curation.findings import Blind, Finding, Report
from vidapt.curation.split import Split, split
from vidapt.curation.stats import Stats, stats

__all__ = ["Blind", "Finding", "Report", "Split", "Stats", "check", "split", "stats"]
