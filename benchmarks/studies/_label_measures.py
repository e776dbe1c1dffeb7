"""What the study of labels measures: which lies are found, and what students say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _adapt_data import WORDS
from _label_data import TEXT, kinds_of, sentences
from _label_visible import Shown

from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate
from vidapt.measure.verdicts import MODEL
from vidapt.models.decoding import Decoding
from vidapt.worlds.billiards import Record, load_records, parse, story
from vidapt.worlds.billiards.claims import true_claims

_WORST = ("contradicted", "unseen", "supported", "unchecked")


def found_of(checked: Path, lies: Mapping[str, Sequence[bool]], seconds: float) -> dict[str, Any]:
    """What evidence says of every answer and every sentence, beside the truth.

    Args:
        checked: Labels with the column `claims`.
        lies: By id, of an answer or of each sentence of a text.
        seconds: That finding it took.
    """
    units: list[dict[str, Any]] = []
    for row in map(json.loads, checked.read_text(encoding="utf-8").splitlines()):
        text = row["answer"] if "answer" in row else row["turns"][-1]["text"]
        is_text = row["facts"]["type"] == TEXT
        spans = _spans(text) if is_text else [(0, len(text))]
        for (start, end), lie in zip(spans, lies[row["id"]], strict=True):
            claims = [one for one in row.get("claims", []) if start <= one["start"] < end]
            verdicts = [one["verdict"] for one in claims]
            kind = kinds_of(text[start:end]) if is_text else row["facts"]["type"]
            units.append(
                {
                    "kind": f"{TEXT}: {kind}" if is_text else kind,
                    "lie": lie,
                    "verdict": min(verdicts, key=_WORST.index, default="unchecked"),
                    "evidence": min((one["evidence"] for one in claims if "evidence" in one), default=None),
                }
            )
    return {"seconds": round(seconds, 1), "units": units}


def _spans(text: str) -> list[tuple[int, int]]:
    found, at = [], 0
    for one in sentences(text):
        start = text.index(one, at)
        at = start + len(one)
        found.append((start, at))
    return found


def measure(
    model: Path,
    world: Path,
    clips: int,
    work: Path,
    types: Sequence[str],
    *,
    shown: Shown | None = None,
) -> dict[str, Any]:
    """Ask a student, and hold its texts against the log.

    Args:
        model: It.
        world: Test clips with labels and log.
        clips: How many of them.
        work: A folder for the evaluation.
        types: Of question.
        shown: What can be seen of clips; None if all of it can.
    """
    samples = [one for one in open_samples(world / WORDS) if one.facts["type"] in types]
    samples = [one for one in samples if int(one.media[0].path.stem) < clips]
    found = evaluate(
        load(model),
        samples,
        out=work / model.name,
        decoding=Decoding(max_new_tokens=96),
        controls=(),
        workers=0,
        overwrite=True,
    )
    records = {record.index: record for record in load_records(world / "events.jsonl")}
    rows = [
        [v.sample, v.clip.id, v.type, {MODEL: int(bool(v.right(MODEL)))}, v.predictions[MODEL]]
        for v in found.verdicts
        if not v.free
    ]
    texts = [
        _told(v.clip.id, v.predictions[MODEL], records[int(v.clip.path.stem)], shown)
        for v in found.verdicts
        if v.free
    ]
    return {"sets": {"club": rows}, "texts": texts}


def _told(clip: str, text: str, record: Record, shown: Shown | None) -> dict[str, Any]:
    """A text's claims in order, each true or not, and what it tells of what it should."""
    claims, unread = parse(text)
    truth = true_claims(record)
    salient = [claim for claim in story(record) if shown is None or claim in shown[record.index]]
    return {
        "clip": clip,
        "true": [claim in truth for claim in claims],
        "told": [claim in claims for claim in salient],
        "first": [claims.index(claim) if claim in claims else None for claim in salient],
        "unread": len(unread),
        "text": text,
    }
