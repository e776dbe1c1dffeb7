"""Label files in, samples out.

>>> from vidapt.formats import open_samples
>>> samples = list(open_samples("labels.jsonl"))  # doctest: +SKIP
"""

from vidapt.formats._base import distinct
from vidapt.formats._columns import numbered
from vidapt.formats._conversations import is_conversation, single_questions
from vidapt.formats._detect import check, detect, open_samples
from vidapt.formats._fingerprint import fingerprint
from vidapt.formats._frozen import frozen
from vidapt.formats._lists import is_list, listed_clips, listed_places
from vidapt.formats._outline import MEDIUMS, medium_of
from vidapt.formats._placement import Placement, placed
from vidapt.formats._shards import shards_of
from vidapt.formats._tables import Table, open_tables, wants_index
from vidapt.formats._tolerant import each_sample

__all__ = [
    "MEDIUMS",
    "Placement",
    "Table",
    "check",
    "detect",
    "distinct",
    "each_sample",
    "fingerprint",
    "frozen",
    "is_conversation",
    "is_list",
    "listed_clips",
    "listed_places",
    "medium_of",
    "numbered",
    "open_samples",
    "open_tables",
    "placed",
    "shards_of",
    "single_questions",
    "wants_index",
]
