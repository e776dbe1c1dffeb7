"""Short name of a set of samples, to tell whether they are still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vidapt.nouns import Sample


def fingerprint(samples: Iterable[Sample]) -> str:
    """First 16 hex digits of the SHA-256 of all that samples say, and of names and sizes of their clips.

    Clips count by id, segment and file size, so a data set may be moved.
    """
    digest = hashlib.sha256()
    sizes: dict[Path, int] = {}
    for sample in samples:
        clips = []
        for clip in sample.media:
            if clip.path not in sizes:
                sizes[clip.path] = clip.path.stat().st_size if clip.path.is_file() else -1
            clips.append([clip.id, clip.start_s, clip.end_s, sizes[clip.path]])
        turns = [[turn.role, turn.text] for turn in sample.turns]
        said: list[Any] = [sample.id, clips, turns, sample.rejected, dict(sample.facts)]
        said += [list(sample.references)] if sample.references else []
        said += [[claim.to_dict() for claim in sample.claims]] if sample.claims else []
        digest.update(json.dumps(said, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()[:16]
