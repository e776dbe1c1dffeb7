"""Files that labels name: which are missing, which cannot be read, which are one and the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vidapt.curation.findings import Finding
from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter
from vidapt.video import Uniform, decode_ahead
from vidapt.video.identity import identity

_FRAMES = 8
_THREADS = 8


def first_rows(samples: Sequence[Sample]) -> dict[Clip, str]:
    """Every clip, with the row that names it first; ids do not tell clips apart."""
    named: dict[tuple[Path, float, float | None], tuple[Clip, str]] = {}
    for sample in samples:
        for clip in sample.media:
            named.setdefault((clip.path, clip.start_s, clip.end_s), (clip, sample.source))
    return dict(named.values())


def missing(clips: Mapping[Clip, str]) -> Iterator[Finding]:
    """Files that are not there, each once."""
    seen: set[Path] = set()
    for clip, where in clips.items():
        if clip.path not in seen and not exists(clip.path):
            yield Finding("error", "missing", where, f"there is no file {clip.path}")
        seen.add(clip.path)


def unreadable(clips: Mapping[Clip, str], workers: int, report: Reporter) -> Iterator[Finding]:
    """Clips that cannot be decoded, and what is to be said of others; some frames of each are decoded."""
    present = [clip for clip in clips if exists(clip.path)]
    decoded = decode_ahead(present, Uniform(count=_FRAMES), size=(32, 32), workers=workers)
    for done, (clip, frames) in enumerate(decoded, 1):
        report("decode", done, len(present))
        if isinstance(frames, BrokenClip):
            yield Finding("error", "unreadable", clips[clip], f"{clip.path} cannot be used: {frames.reason}")
        else:
            for note in frames.notes:
                yield Finding("warning", "note", clips[clip], f"{clip.path}: {note}")


def contents(paths: Sequence[Path]) -> dict[Path, str]:
    """What tells the content of files apart; those that cannot be read are left out."""

    def one(path: Path) -> str | None:
        try:
            return identity(path)
        except OSError:
            return None

    with ThreadPoolExecutor(_THREADS) as threads:
        found = zip(paths, threads.map(one, paths), strict=True)
        return {path: content for path, content in found if content is not None}
