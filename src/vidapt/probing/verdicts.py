"""What follows from the numbers of a type, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vidapt.metrics.intervals import Interval
from vidapt.probing.numbers import Known

Verdict = Literal["told", "ignored", "lost", "held", "unseen", "unsure", "few", "leak"]

HELD, RULED_OUT = 0.25, 0.5
"""Visibility from which on a fact counts as held if its interval is above 0; and what the interval of one
that is not held has to stay below."""

WORDS: Mapping[Verdict, str] = {
    "told": "the model answers it: nothing to do",
    "ignored": "the tower holds it, the language side ignores it: keep the labels, train connector/language",
    "lost": "the tower holds it, the connector loses it: train the connector, or give it more tokens",
    "held": "the tower holds it; no question asks the model for it",
    "unseen": "the tower does not hold it: remove the clause, or raise frames or resolution",
    "unsure": "neither shown nor ruled out: more examples would tell",
    "few": "too few examples, or hardly another answer than the most common one",
    "leak": "shuffled labels are predicted as well: its numbers are not to be trusted",
}


def is_held(one: Known) -> bool:
    """Whether something is shown to be there."""
    return one.visibility is not None and one.visibility.low > 0 and one.value >= HELD


def is_ruled_out(one: Known) -> bool:
    """Whether there is not much of it."""
    return one.visibility is not None and one.visibility.high < RULED_OUT and one.value < HELD


def verdict(
    tower: Known,
    connector: Known,
    control: Known,
    own: Known | None,
    ahead: Interval | None,
    *,
    taught: bool,
) -> Verdict:
    """Judge a type.

    Args:
        tower: The best probe of the tower's features.
        connector: The best probe of the connector's tokens.
        control: The tower's on shuffled labels.
        own: The model's own answers; None where it was not asked.
        ahead: By how much the connector's probe is above these, paired; None likewise.
        taught: Whether there are so many examples that what is not found is not there.
    """
    if is_held(control):
        return "leak"
    if own is not None and is_held(own) and not (ahead is not None and ahead.low > 0):
        return "told"
    if is_held(connector):
        return "held" if own is None else "ignored" if ahead is not None and ahead.low > 0 else "unsure"
    if is_held(tower):
        return "lost" if is_ruled_out(connector) else "unsure"
    return "unseen" if taught and is_ruled_out(tower) and is_ruled_out(connector) else "unsure"
