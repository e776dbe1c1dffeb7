"""Label files in, samples out.

>>> from vidapt.formats import open_samples
>>> samples = list(open_samples("labels.jsonl"))  # doctest: +SKIP
"""

from vidapt.formats._conversations import is_conversation, single_questions
from vidapt.formats._detect import check, detect, open_samples
from vidapt.formats._fingerprint import fingerprint

__all__ = ["check", "detect", "fingerprint", "is_conversation", "open_samples", "single_questions"]
