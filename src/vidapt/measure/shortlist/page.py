"""The page of a shortlist."""

from __future__ import annotations

from pathlib import Path

from vidapt.measure.sections import PlainTable, Section, write_sections
from vidapt.measure.shortlist.found import HEAD, RULE, Shortlist

NOTES = (
    f"The score is {RULE}. It says what a model sees of these clips before it is adapted; some learn faster "
    "than others, which no probe of minutes tells.",
    "Statements are scored by how likely they are as captions (`said`): models need not have learned to "
    "judge. False ones are made from the labels by rule where there are none.",
    "Seconds are of this machine as it was: one clip after the other, decoding included; answers are "
    "captions of up to 96 tokens, several clips at once. Memory is the most that the process, or its device, "
    "held.",
)


def write_shortlist(path: Path, found: Shortlist) -> None:
    """Write the page.

    Raises:
        VidaptError: If the file cannot be written.
    """
    first = found.probes[0].model
    tables = [PlainTable("Models, the best first.", HEAD, found.rows(), (first,))]
    sections = [Section("What each sees, and what it takes", "", (), tables)]
    if found.failed:
        rows = [[one.model, one.reason] for one in found.failed]
        sections.append(Section("Not probed", "", (), [PlainTable("Models.", ("model", "why"), rows)]))
    if clips := list(dict.fromkeys(clip for one in found.probes for clip in one.captions)):
        models = [one for one in found.probes if one.captions]
        rows = [[clip, *(one.captions.get(clip, "-") for one in models)] for clip in clips]
        table = PlainTable("Captions as they come.", ("clip", *(one.model for one in models)), rows)
        sections.append(Section("What each says", "", (), [table]))
    missing = [[one.model, why] for one in found.probes for why in one.why_not]
    if missing:
        sections.append(Section("Not asked", "", (), [PlainTable("Why.", ("model", "why"), missing)]))
    write_sections(
        path,
        "Which model to adapt",
        found.verdict(),
        sections,
        lede=f"{len(found.probes)} models on {found.clips} clips.",
        notes=NOTES,
    )
