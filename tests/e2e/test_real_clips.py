"""Clips of the real world, if there are any: set VIDAPT_CLIPS to a folder of videos."""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from vidapt.nouns import Clip
from vidapt.video import Uniform, choose, decode, probe

FOLDER = os.environ.get("VIDAPT_CLIPS")
SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
CLIPS = sorted(p for p in Path(FOLDER).iterdir() if p.suffix.lower() in SUFFIXES) if FOLDER else []


@pytest.mark.skipif(not CLIPS, reason="VIDAPT_CLIPS names no folder with videos")
@pytest.mark.parametrize("at", ["midpoints", "endpoints"])
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.name)
def test_sixteen_frames_equal_a_full_decode(path: Path, at: Literal["midpoints", "endpoints"]) -> None:
    policy = Uniform(count=16, at=at)
    times = choose(policy, probe(path))
    assert times != "packets"
    frames = decode(Clip("clip", path), policy)
    with av.open(path) as container:
        stream = container.streams.video[0]
        every = list(container.decode(stream))
        stamps = [float((frame.pts - every[0].pts) * stream.time_base) for frame in every]
        for moment, pixels in zip(times, frames.pixels, strict=True):
            expected = every[bisect_right(stamps, moment + 1e-6) - 1].to_ndarray(format="rgb24")
            assert np.array_equal(pixels, expected)
