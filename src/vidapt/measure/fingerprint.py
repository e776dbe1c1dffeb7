"""Short name of a set of questions, to tell whether verdicts still apply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from vidapt.nouns import Sample


def data_fingerprint(samples: Iterable[Sample]) -> str:
    """First 16 hex digits of the SHA-256 of questions, accepted answers, and names and sizes of clips.

    Clips count by id, segment and file size, so a data set may be moved.
    """
    digest = hashlib.sha256()
    for sample in samples:
        clips = [
            [c.id, c.start_s, c.end_s, c.path.stat().st_size if c.path.is_file() else -1]
            for c in sample.media
        ]
        turns = [[turn.role, turn.text] for turn in sample.turns]
        facts = {key: sample.facts.get(key) for key in ("type", "accept", "value")}
        digest.update(
            json.dumps([sample.id, clips, turns, facts], sort_keys=True, default=str).encode() + b"\n"
        )
    return digest.hexdigest()[:16]
