"""What a server grants, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.video import Limits

MOST_LETTERS = 100_000
"""Of all text in one request."""

MOST_MEDIA = 8
"""Clips and pictures of one request."""

MOST_TURNS = 256
"""Of one conversation."""

MOST_MARKS = 100_000
"""Commas, brackets and braces in JSON: three bytes of `[],` become a hundred in memory."""

CLIP = Limits(
    pixels=4096 * 2304, seconds=3600.0, file_bytes=32 << 20, frames=512, memory_bytes=128 << 20, wall_s=20.0
)
"""What one clip of a request may cost, whoever sends it."""


@dataclass(frozen=True)
class Terms:
    """What a server grants.

    Attributes:
        body_bytes: Size of one request.
        bodies_bytes: Size of all requests that are being read or answered together.
        frames_bytes: Size of the decoded frames of all requests together.
        most_tokens: Longest answer that may be asked for.
        queue: Requests that are read, wait or are answered at a time; one more is sent away.
        batch: Questions that a model answers together.
        gather_s: How long a model waits for others to come to a question.
        timeout_s: How long a request may take from when it was read.
        body_s: How long it may take to be read.
        per_minute: Requests of one key in a minute; 0 for as many as it likes.
        allow_urls: Whether clips are fetched from addresses.
        clip: What one clip may cost.
        workers: Decoding processes.
        drain_s: How long requests under way are waited for when the server is told to end.
        kept_bytes: Size of the files that one key may have uploaded at a time.
        kept_s: How long an uploaded file is kept.
    """

    body_bytes: int = 32 << 20
    bodies_bytes: int = 256 << 20
    frames_bytes: int = 1 << 30
    most_tokens: int = 1024
    queue: int = 128
    batch: int = 16
    gather_s: float = 0.005
    timeout_s: float = 60.0
    body_s: float = 20.0
    per_minute: float = 0.0
    allow_urls: bool = False
    clip: Limits = CLIP
    workers: int = 2
    drain_s: float = 30.0
    kept_bytes: int = 256 << 20
    kept_s: float = 3600.0
