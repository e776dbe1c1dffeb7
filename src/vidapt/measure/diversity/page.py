"""The page of several ways to many captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidapt.measure.diversity.found import COMPARABLE, FACTS, TEXTS, UNKNOWN, Way
from vidapt.measure.diversity.told import Told
from vidapt.measure.sections import PlainTable, Section, points, write_sections
from vidapt.metrics.intervals import Interval

NOTES = (
    "coverage@k: facts that at least one of the k captions of a clip tells, of those worth telling. "
    "contradicted: false claims of all claims. contradicted@k: false ones of the different claims of a clip, "
    "which grows with k where errors differ and truths repeat. said again: claims that another caption of "
    "the clip makes, too. unread: statements that nobody could read or judge, of all statements; they are in "
    "no other rate.",
    "distinct-n, self-BLEU, 1 - cos and Vendi are means over clips. What is made up differs most: they say "
    "something only where `contradicted` and `unread` are the same as the first way's, within the intervals "
    "of their differences. `could tell` is the difference that such data would find in four cases of five: "
    "where it is large, comparable means little.",
)
_SHOWN = 5


def write_ways(
    path: Path, ways: Sequence[Way], judged: str | None, told: Sequence[Told], remarks: Sequence[str] = ()
) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    comparable = [one for one in ways if one.says == COMPARABLE]
    facts = PlainTable("Facts, in percent and points.", FACTS, [one.facts() for one in ways])
    texts = PlainTable("Texts; means over clips.", TEXTS, [one.texts() for one in ways])
    gains = [
        [one.name, *map(_gap, (one.gain, one.against, one.unread_against)), one.says]
        for one in ways
        if not one.first
    ]
    sections = [
        Section(
            "How true, and how different", "The first is what others are held against.", (), [facts, texts]
        )
    ]
    if gains and judged:
        head = ("captions", "coverage@k", "contradicted", "unread", "so")
        told_more = PlainTable("Less the first, in points, with 95 % intervals.", head, gains)
        sections.append(Section("What more they tell", "", (), [told_more]))
    sections.append(Section("As they come", "", (), [_examples(told)]))
    write_sections(
        path,
        "Many captions of one clip",
        _verdict(ways, comparable),
        sections,
        lede=f"{ways[0].clips} clips; facts by {judged or 'nobody: only the texts are compared'}.",
        notes=[*NOTES, *remarks],
    )


def _gap(gap: Interval | None) -> str:
    return "-" if gap is None else points(gap)


def _examples(told: Sequence[Told]) -> PlainTable:
    clips = list(told[0].texts)[:_SHOWN]
    rows = [[clip.id, one.name, text] for clip in clips for one in told for text in one.texts[clip]]
    return PlainTable("Some clips.", ("clip", "captions", "text"), rows)


def _verdict(ways: Sequence[Way], comparable: Sequence[Way]) -> str:
    others = [one for one in ways if not one.first]
    if not others:
        return "One way by itself."
    if all(one.says == UNKNOWN for one in others):
        return "Nothing is known of facts: more different captions may be more wrong."
    if not comparable:
        return "No way is as factual as the first: their diversity cannot be compared."
    known = [one for one in comparable if one.gain is not None]
    best = max(known, key=lambda one: one.gain.value if one.gain else 0.0, default=None)
    if best is None or best.gain is None or best.gain.low <= 0:
        return "At equal factuality no way tells more than the first."
    return f"At equal factuality {best.name} tells most: {points(best.gain)} points more than the first."
