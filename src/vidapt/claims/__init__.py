"""What single clauses of a label claim, and what is known of each: values, clauses, and texts without some.

>>> from vidapt.claims import clauses
>>> text = "the red ball hits the blue one, and the blue one drops."
>>> [text[start:end] for start, end in clauses(text)]
['the red ball hits the blue one,', ' and the blue one drops.']
"""

from vidapt.claims.claim import MOST, VERDICTS, Claim, Verdict, read_claims, refit, renumbered, said
from vidapt.claims.clauses import Span, clauses, sentence_spans
from vidapt.claims.edit import replaced, without

__all__ = [
    "MOST",
    "VERDICTS",
    "Claim",
    "Span",
    "Verdict",
    "clauses",
    "read_claims",
    "refit",
    "renumbered",
    "replaced",
    "said",
    "sentence_spans",
    "without",
]
