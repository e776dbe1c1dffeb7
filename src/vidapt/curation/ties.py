"""Which clips of a data set hang together: by file, session, content, row, and by what they show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidapt.curation.components import Components
from vidapt.curation.footage import contents, first_rows
from vidapt.curation.likeness import ALIKE, Signatures, near, signatures
from vidapt.errors import ConfigError
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter, silent

_SESSIONS, _LARGEST = 10, 0.4
"""Folders from which on they are taken for sessions, and the share of all clips that one may have."""


@dataclass(frozen=True)
class Tied:
    """What hangs together.

    Attributes:
        groups: The group of every sample, by a number; what hangs together has one.
        ties: How many pairs of clips each reason tied together.
        sessions: What counts as a session, in words.
        signatures: What clips show; None where that was not looked at.
    """

    groups: Sequence[int]
    ties: Mapping[str, int]
    sessions: str
    signatures: Signatures | None


def tie(
    samples: Sequence[Sample],
    *,
    by: str | None = None,
    frames: bool = True,
    workers: int = 1,
    report: Reporter = silent,
) -> Tied:
    """Find what hangs together.

    Args:
        samples: All of a data set.
        by: What a session is, as `split` has it.
        frames: Tie clips together that show nearly the same.
        workers: Decoding processes.
        report: Shows progress.

    Raises:
        ConfigError: If `by` makes no sense.
    """
    clips = list(first_rows(samples))
    session, told = sessions(clips, by)
    found = signatures(clips, workers, report) if frames else None
    components, ties = _tied(samples, clips, session, found)
    return Tied(components.of(samples), ties, told, found)


def sessions(clips: Sequence[Clip], by: str | None) -> tuple[dict[Clip, str], str]:
    """What session each clip is of, and what that was told by.

    Args:
        clips: All of a data set.
        by: A regular expression for what names it in a path; or `file`. None takes folders where there are
            many, and else files.

    Raises:
        ConfigError: If `by` makes no sense, or finds nothing.
    """
    if by not in (None, "file"):
        try:
            pattern = re.compile(str(by))
        except re.error as error:
            raise ConfigError("by", f"{by!r} is no regular expression: {error}") from None
        matches = {clip: pattern.search(str(clip.path)) for clip in clips}
        lost = [str(clip.path) for clip, match in matches.items() if match is None]
        if lost:
            raise ConfigError("by", f"{by!r} finds nothing in {lost[0]} and {len(lost) - 1} more", "widen it")
        named = {clip: match.group(match.re.groups and 1) for clip, match in matches.items() if match}
        return {clip: str(name) for clip, name in named.items()}, f"what {by!r} finds in a path"
    folders = Counter(clip.path.parent for clip in clips)
    largest = max(folders.values(), default=0)
    if by is None and len(folders) >= _SESSIONS and largest <= _LARGEST * len(clips):
        return {clip: str(clip.path.parent) for clip in clips}, f"the {len(folders)} folders of clips"
    return {clip: str(clip.path) for clip in clips}, "each file"


def _tied(
    samples: Sequence[Sample], clips: Sequence[Clip], session: Mapping[Clip, str], found: Signatures | None
) -> tuple[Components, dict[str, int]]:
    components = Components(clips)
    content = contents(list(dict.fromkeys(clip.path for clip in clips)))
    ties = {
        "file": components.tie_equal({clip: str(clip.path) for clip in clips}),
        "session": components.tie_equal(session),
        "content": components.tie_equal({clip: content.get(clip.path, str(clip.path)) for clip in clips}),
        "row": sum(components.tie(sample.media[0], clip) for sample in samples for clip in sample.media[1:]),
    }
    if found is not None:
        pairs = near(found, ALIKE)
        ties["frames"] = sum(components.tie(found.clips[a], found.clips[b]) for a, b, _ in pairs)
    return components, ties
