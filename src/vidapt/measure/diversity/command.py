"""What `vidapt diversity` does: captions read, held against a log or a judge, compared, and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.inference.matchers import DualMatcher, open_matcher
from vidapt.measure.diversity.found import Embed, Judge, Way, compare_ways
from vidapt.measure.diversity.judged import judged_by
from vidapt.measure.diversity.page import write_ways
from vidapt.measure.diversity.told import most, read_told
from vidapt.measure.judging import world_verdicts
from vidapt.metrics.diversity import Floats, Judged
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent

METRICS, PAGE = "metrics.json", "report.html"


@dataclass(frozen=True)
class Diverse:
    """Several ways beside each other.

    Attributes:
        ways: The first is what others are held against.
        left_out: Clips that not all files are about.
        judged: Who says what is true; None if nobody does.
        remarks: What is to be known of the judge.
    """

    ways: Sequence[Way]
    left_out: int
    judged: str | None
    remarks: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "ways": [one.to_dict() for one in self.ways],
            "left_out": self.left_out,
            "judged": self.judged,
            "remarks": list(self.remarks),
        }


def measure_diversity(
    captions: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    kind: str | None = None,
    k: int | None = None,
    by: str | None = None,
    embed: str | Path | None = None,
    device: str = "cpu",
    judge: Path | None = None,
    offline: bool = False,
    report: Reporter = silent,
) -> Diverse:
    """Measure captions, and write `metrics.json` and `report.html`.

    Args:
        captions: What `vidapt caption` wrote, a file for each way; the first is what others are held against.
        out: Folder.
        data: Labels; where a world's log is beside them, it says what is true. None leaves facts unknown.
        kind: Their format.
        k: Captions of each clip that are looked at; None is as many as all have that have several.
        by: What clips are taken from; see `curation.ties.sessions`.
        embed: A dual encoder whose text tower makes vectors; None counts words.
        device: Where it runs.
        judge: File about a judge, who holds captions against labels; see `judged.judged_by`.
        offline: Whether only verdicts are used that were given before.
        report: Told how far the judge is.

    Raises:
        ConfigError: If the files have no clip in common, or a setting makes no sense.
        FormatError: If a file cannot be read.
        CheckpointError: If there is no such model.
    """
    if k is not None and k < 1:
        raise ConfigError("--k", f"{k} captions", "give 1 or more")
    same = read_told(captions, data, kind)
    short = [one.name for one in same.told if k is not None and 1 < one.k < k]
    if short:
        raise ConfigError("--k", f"{short[0]} has fewer than {k} captions of a clip", "give a smaller number")
    vectors = None if embed is None else _embedder(embed, device)
    count, who, remarks = most(same.told, k), None, list[str]()
    known = None
    if judge is not None:
        if data is None:
            raise ConfigError("--judge", "has no labels to hold captions against", "give --data")
        given = judged_by(
            judge, same.told, count, data, out / "judged", kind=kind, offline=offline, report=report
        )
        known, who, remarks = given.judge, f"the judge of {judge.name}", list(given.remarks)
        if given.without:
            share = f"{given.without} of {given.texts} captions"
            remarks.append(f"{share} have no verdict, and count as telling nothing")
    elif data is not None:
        known = world_judged(data if data.is_dir() else data.parent)
        who = None if known is None else "the world's log"
    ways = compare_ways(same.told, known, k=count, by=by, embed=vectors)
    found = Diverse(ways, same.left_out, who, remarks)
    write_json(out / METRICS, found.to_dict())
    write_ways(out / PAGE, ways, found.judged, same.told, remarks)
    return found


def world_judged(folder: Path) -> Judge | None:
    """What a world's log says of texts; None where there is none.

    Raises:
        FormatError: If the log cannot be read.
    """
    verdict = world_verdicts(folder)
    if verdict is None:
        return None

    def judge(clip: Clip, text: str) -> tuple[Judged, int]:
        found = verdict(clip, text)
        return Judged(found.supported, found.false, found.recalled, len(found.unparsed)), len(found.salient)

    return judge


def _embedder(name: str | Path, device: str) -> Embed:
    model = open_matcher(name, device=device)
    if not isinstance(model, DualMatcher):
        raise ConfigError(
            "--embed", f"{name} has no text tower", "give a dual encoder, or leave it out to count words"
        )

    def embed(texts: Sequence[str]) -> Floats:
        for text, reason in model.unreadable(texts).items():
            raise ConfigError(f"caption {text[:80]!r}", reason)
        return np.stack([model.vector(text).double().cpu().numpy() for text in texts])

    return embed
