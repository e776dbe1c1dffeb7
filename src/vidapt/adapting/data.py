"""From a folder of clips and some labels to three label files between which nothing leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.adapting.decisions import Decisions
from vidapt.adapting.job import Places, Request
from vidapt.captioning.found import find_clips
from vidapt.curation import Finding, Report, check, split
from vidapt.errors import ConfigError, FormatError
from vidapt.files import check_clips
from vidapt.formats import detect, each_sample, open_samples
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.video.suffixes import VIDEO_SUFFIXES

FEWEST = 10
"""Clips of which so many are needed: with fewer, what is held back says nothing."""

_MOST_LISTED = 20
_MOST_HELD_BACK = 500
_FEW, _SOME = 100, 1000
_LABEL_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".gz")

HOW_TO_LABEL = (
    "write a text beside each clip (`0001.txt`: its caption; `0001.json`: question and answer), or, for "
    '--labels, a file of rows such as {"video": "0001.mp4", "question": "...", "answer": "..."}; '
    "LLaVA JSON, ShareGPT and VideoInstruct are read as well"
)


@dataclass(frozen=True)
class Source:
    """Labels as they are given.

    Attributes:
        path: A label file, or a folder of clips with texts.
        kind: Its format.
        options: Options of the format.
        unlabelled: Clips of the folder that no label names.
        outside: How many clips that labels name lie elsewhere.
        clips: How many clips labels name.
    """

    path: Path
    kind: str
    options: dict[str, Any]
    unlabelled: Sequence[Path]
    outside: int
    clips: int


def open_source(request: Request) -> tuple[Source, list[Sample]]:
    """Find the labels of a job, and read them.

    Returns:
        What they are, and the samples that can be learned from.

    Raises:
        ConfigError: If there is no clip or no label.
        FormatError: If the labels are of no known format.
    """
    check_clips(request.clips)
    clips = [clip.path for clip in find_clips(request.clips).clips]
    path = request.labels or request.clips
    kind = detect(path)
    options = _options(kind, request)
    # Unsound rows are told by the check, all of them at once.
    found = [one for one in each_sample(path, kind, **options) if not isinstance(one, FormatError)]
    samples = [sample for sample in found if sample.turns]
    if not samples:
        raise ConfigError(
            path, f"has {len(clips)} clips and no label", _found_labels(request) or HOW_TO_LABEL
        )
    here = {path.resolve() for path in clips}
    named = {clip.path.resolve() for sample in samples for clip in sample.media}
    known = named | _tested(request, options)
    unlabelled = [
        path for path in clips if path.resolve() not in known and path.suffix.lower() in VIDEO_SUFFIXES
    ]
    return Source(path, kind, options, unlabelled, len(named - here), len(named)), samples


def _tested(request: Request, options: dict[str, Any]) -> set[Path]:
    """Clips that a test set of its own names.

    Raises:
        ConfigError: If it cannot be read in the way in which the labels are.
    """
    if request.test is None:
        return set()
    if _options(detect(request.test), request) != options:
        raise ConfigError(
            request.test,
            f"is in another form than {request.labels or request.clips}",
            "give two label files, or two folders of clips with texts beside them",
        )
    found = (one for one in each_sample(request.test, **options) if not isinstance(one, FormatError))
    return {clip.path.resolve() for sample in found for clip in sample.media}


def _options(kind: str, request: Request) -> dict[str, Any]:
    """Options of a format: where clips lie; that some of a folder may have no text."""
    if kind == "folder":
        return {"recursive": True, "allow_unlabelled": True, "allow_stray_texts": request.labels is None}
    return {} if kind == "webdataset" else {"media_root": request.clips}


def _found_labels(request: Request) -> str:
    """Which files of the folder may be the labels that were not given."""
    files = [path for path in sorted(request.clips.iterdir()) if path.suffix.lower() in _LABEL_SUFFIXES]
    return f"are these the labels? --labels {files[0]}" if files and request.labels is None else ""


def examine(source: Source, request: Request, report: Reporter, workers: int | None) -> Report:
    """Check labels and clips.

    Raises:
        FormatError: Listing all that has to be mended.
        ConfigError: If there are too few clips.
    """
    if request.general is not None:
        _examine_general(request.general)
    files = [source.path, *([] if request.test is None else [request.test])]
    found = check(
        files,
        kind=source.kind if request.test is None else None,
        options=source.options,
        decode=True,
        workers=workers,
        report=report,
    )
    # A clip that cannot be decoded costs its own rows and no more.
    wrong = [one for one in found.findings if one.level == "error" and one.kind != "unreadable"]
    broken = [one for one in found.findings if one.kind == "unreadable"]
    if wrong:
        raise _unsound(wrong)
    if broken and len(broken) == found.clips:
        raise _unsound(broken)
    if source.clips < FEWEST:
        found_few = f"{source.clips} clips have labels: too few to hold some back"
        raise ConfigError(source.path, found_few, f"label {FEWEST} or more")
    return found


def _examine_general(file: Path) -> None:
    """See that what is asked at checkpoints can be read, before anything is decoded.

    Raises:
        FormatError: Listing all that has to be mended; its paths do not start from the folder of the clips.
    """
    wrong = [one for one in check([file], decode=False, frames=False).findings if one.level == "error"]
    if wrong:
        raise _unsound(wrong, "paths of a general set start from its own folder")


def tell_found(found: Report, source: Source, request: Request, decisions: Decisions) -> None:
    """Tell what is in the labels, and what is only to be looked at."""
    broken = [one for one in found.findings if one.kind == "unreadable"]
    counts = Counter(one.kind for one in found.findings if one.level == "warning")
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "nothing to look at"
    decisions.make("data", f"{found.rows} rows about {found.clips} clips are sound", f"checked: {kinds}")
    if broken:
        listed = "; ".join(one.found for one in broken[:3])
        decisions.make("broken clips", f"{len(broken)} are left out", listed)
    if source.outside:
        where = f"labels name them outside {request.clips}"
        decisions.make("clips elsewhere", f"{source.outside} are used", where)
    if source.unlabelled:
        some = f"{len(source.unlabelled)} are not learned from"
        decisions.make("clips without labels", some, "they can be captioned when the model is adapted")


def _unsound(
    findings: Sequence[Finding],
    roots: str = "paths of labels start from their own folder, or from that of the clips",
) -> FormatError:
    lines = [f"\n  {one.where}: {one.found}" for one in findings[:_MOST_LISTED]]
    more = len(findings) - len(lines)
    told = "".join(lines) + (f"\n  ... and {more} more" if more else "")
    remedy = "mend them, or leave these rows out"
    if any(one.kind == "missing" for one in findings):
        remedy += f"; {roots}"
    if any(one.kind == "leak" for one in findings):
        remedy = "what is measured on must not be learned from: take these clips out of one of the two files"
    return FormatError(findings[0].where, f"{len(findings)} thing(s) to mend:{told}", remedy)


def divide(
    source: Source,
    samples: Sequence[Sample],
    request: Request,
    places: Places,
    decisions: Decisions,
    report: Reporter,
    workers: int | None,
) -> None:
    """Divide labels into what is learned from, chosen by and measured on.

    Raises:
        ConfigError: If all clips hang together.
    """
    whole, kind, options = source.path, source.kind, source.options
    if kind == "folder":  # whose clips without a text are no rows
        whole, kind, options = places.data / "all.jsonl", "vidapt_jsonl", {}
        places.data.mkdir(parents=True, exist_ok=True)
        write(whole, samples)
    ratios = shares(source.clips, held_out=request.test is None)
    found = split(
        [whole],
        places.data,
        ratios=ratios,
        by=request.by,
        kind=kind,
        options=options,
        workers=workers,
        report=report,
    )
    parts = ", ".join(f"{name} {part.clips} clips" for name, part in found.parts.items())
    why = f"clips of one session ({found.sessions}), of equal content or nearly the same look stay together"
    decisions.make("division", parts, why)
    if request.test is not None:
        held = write(places.test, (one for one in open_samples(request.test, **source.options) if one.turns))
        decisions.make(
            "test", f"{held} rows of {request.test}", "given; no clip of it is among those learned from"
        )


def shares(count: int, *, held_out: bool) -> dict[str, float]:
    """Which share of so many clips each part gets: the fewer there are, the more are held back.

    Args:
        count: Clips.
        held_out: Whether what is measured on is among them.
    """
    share = 0.2 if count < _FEW else 0.15 if count < _SOME else 0.1
    share = min(share, _MOST_HELD_BACK / count)
    held = ("val", "test") if held_out else ("val",)
    return {"train": 1 - share * len(held), **dict.fromkeys(held, share)}
