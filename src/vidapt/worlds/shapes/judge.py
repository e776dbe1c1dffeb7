"""Reads the claims of a text in any style, and checks each against what happened."""

from __future__ import annotations

from vidapt.worlds.phrases import Claim
from vidapt.worlds.reading import Reader
from vidapt.worlds.shapes.claims import full, holds, story, true_claims
from vidapt.worlds.shapes.events import Record
from vidapt.worlds.shapes.field import COLOURS
from vidapt.worlds.shapes.styles import STYLES
from vidapt.worlds.verdict import Verdict

_READER = Reader(tuple(STYLES.values()), COLOURS, ("the", "no", "nothing", "there"))


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
        The verdict; recall is against `claims.story`. That a touches b tells that b touches a.
    """
    claims, unparsed = parse(text)
    truth = true_claims(record)
    said = {full(claim, record) for claim in claims}
    said |= {Claim("touch", claim.where, claim.subject) for claim in said if claim.kind == "touch"}
    return Verdict.of(
        claims,
        lambda claim: holds(claim, record, truth),
        unparsed=unparsed,
        salient=story(record),
        said=said,
    )
