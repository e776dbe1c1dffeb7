"""Frames of films are those that the processors of SmolVLM2 and MiniCPM-V 4.6 take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers.models.minicpmv4_6.video_processing_minicpmv4_6 import MiniCPMV4_6VideoProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

from vidapt.video import Every, frame_indices

LENGTHS = [1, 2, 7, 24, 25, 26, 49, 100, 251, 999, 1600, 2000, 5000]
RATES = [24.0, 25.0, 30000 / 1001, 12.5]
CAP = 32


def told(frames: int, fps: float) -> VideoMetadata:
    return VideoMetadata(frames, fps, duration=frames / fps)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rate", [1.0, 2.0])
def test_smolvlms_rule(rate: float, fps: float) -> None:
    policy = Every(rate=rate, cap=CAP, at="endpoints", compat="published_ends_off")
    for frames in LENGTHS:
        theirs = SmolVLMVideoProcessor.sample_frames(
            SimpleNamespace(num_frames=CAP, fps=rate), told(frames, fps)
        )
        assert list(frame_indices(policy, frames=frames, fps=fps)) == theirs.tolist(), (frames, fps)


@pytest.mark.parametrize("fps", RATES)
def test_minicpms_rule(fps: float) -> None:
    policy = Every(rate=1.0, cap=CAP, at="endpoints", compat="published_seconds")
    for frames in LENGTHS:
        theirs = MiniCPMV4_6VideoProcessor.sample_frames(
            SimpleNamespace(max_num_frames=CAP, stack_frames=1), told(frames, fps)
        )
        assert list(frame_indices(policy, frames=frames, fps=fps)) == theirs, (frames, fps)


def test_a_part_of_a_file_is_counted_from_its_own_first_frame() -> None:
    policy = Every(rate=1.0, cap=CAP, at="endpoints", compat="published_seconds")
    assert frame_indices(policy, frames=250, fps=25.0, start_s=2.0, end_s=4.5) == (50, 75, 100)
    policy = Every(rate=1.0, cap=CAP, at="endpoints", compat="published_ends_off")
    assert frame_indices(policy, frames=250, fps=25.0, start_s=2.0, end_s=4.0) == (50, 100)
