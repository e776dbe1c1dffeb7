"""What a judge says of several captions: the protocol `claims`, each caption being a model's answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import write_text
from vidapt.measure.command import Asking
from vidapt.measure.diversity.found import Judge
from vidapt.measure.diversity.told import Told
from vidapt.measure.protocols.rows import read_test
from vidapt.measure.protocols.run import Wanted, evaluate_protocols
from vidapt.metrics.diversity import Judged
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent

PROTOCOL, TEST = "claims", "test.jsonl"
_SUPPORTED, _CONTRADICTED, _OPEN = "supported", "contradicted", "unmentioned"


@dataclass(frozen=True)
class Verdicts:
    """What a judge said.

    Attributes:
        judge: Looks verdicts up.
        texts: How many captions it was asked about.
        without: Captions without a verdict, which count as telling nothing.
        remarks: What is to be known of the judge.
    """

    judge: Judge
    texts: int
    without: int
    remarks: Sequence[str]


def judged_by(
    judge: Path,
    told: Sequence[Told],
    k: int,
    data: Path,
    out: Path,
    *,
    kind: str | None = None,
    offline: bool = False,
    report: Reporter = silent,
) -> Verdicts:
    """Have a judge hold every caption against what the labels say of its clip.

    A caption's claims are supported, contradicted, or not mentioned by the label, which is no verdict on
    them: these count as unread. Facts worth telling are the label's events. Of several labels of a clip the
    one with the longest answer counts. Verdicts are kept in the folder, so that a killed job goes on.

    Args:
        judge: File about the judge; see `vidapt eval --judge`.
        told: Captions of the same clips.
        k: Captions of each clip that are looked at.
        data: Labels.
        out: Folder for the test, what was said, and verdicts.
        kind: Format of the labels.
        offline: Whether only verdicts are used that were given before.
        report: Told how far it is.

    Raises:
        ConfigError: If the judge cannot be used, or a clip has no label that says anything.
        VidaptError: If the judge cannot be asked any more; verdicts are kept.
    """
    clips = list(told[0].texts)
    _write_test(out / TEST, clips, _longest(read_test(data, kind)))
    files = [
        _write_said(out / "said" / f"{at:02d}-{turn + 1:02d}.jsonl", one.texts, turn)
        for at, one in enumerate(told)
        for turn in range(min(k, one.k))
    ]
    wanted = Wanted((PROTOCOL,), judge, offline)
    found = evaluate_protocols(files, Asking(out / TEST, controls=(), report=report), wanted, out)
    folders = [out] if len(files) == 1 else [out / file.stem for file in files]
    rows = [json.loads(line) for folder in folders for line in _lines(folder / f"{PROTOCOL}.jsonl")]
    return _verdicts(rows, list(found.remarks()))


def _verdicts(rows: Sequence[Mapping[str, Any]], remarks: Sequence[str]) -> Verdicts:
    """Verdicts by clip and text."""
    known: dict[tuple[str, str], Judged] = {}
    events: dict[str, set[str]] = {}
    for row in rows:
        shown = row["shown"]
        of_events = shown.get("events", ())
        events.setdefault(row["case"], set()).update(text for text, _ in of_events)
        if row["status"] != "valid":
            continue
        claims = {
            one: [text for text, said in shown.get("claims", ()) if said == one]
            for one in (_SUPPORTED, _CONTRADICTED, _OPEN)
        }
        recalled = [text for text, said in of_events if said == _SUPPORTED]
        verdict = Judged(claims[_SUPPORTED], claims[_CONTRADICTED], recalled, len(claims[_OPEN]))
        known[row["case"], row["answers"][0]] = verdict

    def judge(clip: Clip, text: str) -> tuple[Judged, int]:
        return known.get((clip.id, text), Judged((), (), ())), len(events.get(clip.id, ()))

    without = sum(row["status"] != "valid" for row in rows)
    return Verdicts(judge, len(rows), without, remarks)


def _longest(samples: Sequence[Sample]) -> dict[tuple[Path, float, float | None], Sample]:
    """Of each stretch of footage, the label that says most."""
    found: dict[tuple[Path, float, float | None], Sample] = {}
    for sample in samples:
        if len(sample.media) == 1:
            (clip,) = sample.media
            place = (clip.path.resolve(), clip.start_s, clip.end_s)
            if place not in found or len(sample.answer) > len(found[place].answer):
                found[place] = sample
    return found


def _write_test(
    path: Path, clips: Sequence[Clip], labels: Mapping[tuple[Path, float, float | None], Sample]
) -> None:
    rows = []
    for clip in clips:
        label = labels.get((clip.path.resolve(), clip.start_s, clip.end_s))
        if label is None or not label.answer.strip():
            raise ConfigError(clip.path, "has no label that says anything", "give labels with captions")
        stretch = {} if clip.end_s is None else {"start_s": clip.start_s, "end_s": clip.end_s}
        facts = {key: label.facts[key] for key in ("events",) if key in label.facts}
        text = {"question": label.question or "describe the video.", "answer": label.answer}
        rows.append({"id": clip.id, "video": str(clip.path.resolve()), **text, **stretch, "facts": facts})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _write_said(path: Path, texts: Mapping[Clip, Sequence[str]], turn: int) -> Path:
    rows = [{"id": clip.id, "prediction": said[turn]} for clip, said in texts.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
