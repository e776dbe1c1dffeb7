"""Everything that is wrong with a data set, and all that a person should look at, in one report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.curation.findings import Finding, Report
from vidapt.curation.footage import contents, first_rows, missing, unreadable
from vidapt.curation.likeness import near, signatures
from vidapt.curation.texts import blind_scores, doubles, lopsided, one_order
from vidapt.errors import FormatError
from vidapt.files import exists
from vidapt.formats import each_sample, single_questions
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent


def check(
    files: Sequence[str | Path],
    *,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    decode: bool = False,
    frames: bool = True,
    workers: int | None = None,
    report: Reporter = silent,
) -> Report:
    """Look at label files; several are splits of one data set, between which nothing may leak.

    Args:
        files: Label files, folders or patterns.
        kind: Their format; told from each file's content if None.
        options: Options of the format.
        decode: Decode some frames of every clip, to find those that cannot be used.
        frames: Compare what clips of different splits show; only where there are several files.
        workers: Decoding processes; None is one per core.
        report: Shows progress.

    Raises:
        FormatError: If a file is not there, or no format has such rows.
    """
    count = os.cpu_count() or 1 if workers is None else workers
    findings: list[Finding] = []
    splits: dict[str, list[Sample]] = {}
    rows = 0
    for file in files:
        sound: list[Sample] = []
        for one in each_sample(file, kind, **(options or {})):
            rows += 1
            if isinstance(one, FormatError):
                findings.append(Finding("error", "row", one.where, one.found))
            else:
                sound.append(one)
        splits[str(file)] = sound
    clips = first_rows([sample for samples in splits.values() for sample in samples])
    findings += missing(clips)
    if decode:
        findings += unreadable(clips, count, report)
    for samples in splits.values():
        findings += [*doubles(samples), *one_order(samples)]
    if len(splits) > 1:
        findings += leaks(splits)
        if frames:
            findings += _look_alikes(splits, count, report)
    # A conversation's questions are measured one by one, so that each of them counts here.
    scores = blind_scores(single_questions(sample for samples in splits.values() for sample in samples))
    findings += lopsided(scores, ", ".join(splits))
    return Report(list(splits), rows, len(clips), findings, scores)


def leaks(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Finding]:
    """Clips of one split whose file, or a file of the same content, is in another as well."""
    named = {name: first_rows(samples) for name, samples in splits.items()}
    paths = list(dict.fromkeys(clip.path for clips in named.values() for clip in clips if exists(clip.path)))
    content = contents(paths)
    before: dict[str, tuple[str, Clip]] = {}
    for name, clips in named.items():
        for clip, where in clips.items():
            key = content.get(clip.path, str(clip.path))
            other, first = before.setdefault(key, (name, clip))
            if other == name:
                continue
            same = "the same file" if first.path == clip.path else f"the same content as {first.path}"
            yield Finding("error", "leak", where, f"{clip.path} is {same}, which is in {other} too")


def _look_alikes(splits: Mapping[str, Sequence[Sample]], workers: int, report: Reporter) -> Iterator[Finding]:
    rows = {name: first_rows(samples) for name, samples in splits.items()}
    home = {clip: name for name, clips in rows.items() for clip in clips}
    found = signatures(list(home), workers, report)
    for left, right, like in near(found):
        one, other = found.clips[left], found.clips[right]
        if home[one] != home[other] and one.path != other.path:
            shown = f"{other.path} shows nearly what {one.path} in {home[one]} shows (likeness {like:.2f})"
            yield Finding("warning", "likeness", rows[home[other]][other], shown)
