"""Reads the claims of a text in any style, and checks each against what happened."""

from __future__ import annotations

from vidapt.worlds.conveyor.claims import full, holds, story, true_claims
from vidapt.worlds.conveyor.events import Record
from vidapt.worlds.conveyor.line import COLOURS
from vidapt.worlds.conveyor.styles import STYLES
from vidapt.worlds.phrases import Claim
from vidapt.worlds.reading import Reader
from vidapt.worlds.verdict import Verdict

_OPENINGS = ("the", "a gate", "no", "all", "nothing", "everything", "track")
_READER = Reader(tuple(STYLES.values()), COLOURS, _OPENINGS)


def parse(text: str) -> tuple[list[Claim], list[str]]:
    """Read the claims of a text, in any style or mix of styles.

    Returns:
        The claims in order, and the sentences that are none.
    """
    return _READER.parse(text)


def judge(text: str, record: Record) -> Verdict[Claim]:
    """Check every claim of a text against the whole log.

    Args:
        text: Sentences of any style.
        record: The truth.

    Returns:
        The verdict; recall is against `claims.story`.
    """
    claims, unparsed = parse(text)
    truth = true_claims(record)
    return Verdict.of(
        claims,
        lambda claim: holds(claim, record, truth),
        unparsed=unparsed,
        salient=story(record),
        said={full(claim, record) for claim in claims},
    )
