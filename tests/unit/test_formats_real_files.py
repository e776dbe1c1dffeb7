"""Published files, read as they are where the environment says they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidapt.formats import detect, open_samples


@pytest.mark.skipif("VIDAPT_CLIPS" not in os.environ, reason="VIDAPT_CLIPS names no folder of clips")
def test_sharegpt_demo_reads_as_it_is() -> None:
    path = Path(os.environ["VIDAPT_CLIPS"]) / "video_demo_sharegpt.json"
    assert detect(path) == "sharegpt"
    samples = list(open_samples(path))
    assert [s.media[0].path.name for s in samples] == ["1.mp4", "2.avi", "3.mp4"]
    assert all(s.turns[0].text.startswith("<video>") and s.answer for s in samples)
