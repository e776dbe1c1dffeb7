"""Where a film cuts, as PySceneDetect finds it: an alternative to `shots`, which needs no library."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import av

from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip
from vidapt.video.container import check_file
from vidapt.video.guard import guarded
from vidapt.video.limits import DEFAULT, Limits

Detector = Literal["content", "adaptive", "threshold"]
"""Of PySceneDetect: hard cuts; the same under a camera that moves fast; fades through black."""

_CLASSES: dict[Detector, str] = {
    "content": "ContentDetector",
    "adaptive": "AdaptiveDetector",
    "threshold": "ThresholdDetector",
}


def find_scenes(
    clip: Clip, detector: Detector, *, least_s: float = 1.0, limits: Limits = DEFAULT
) -> list[float]:
    """Find where a film cuts.

    Every frame is decoded, in this process.

    Args:
        clip: A video file, as a whole.
        detector: Which of the library's.
        least_s: No scene is shorter, in seconds.
        limits: How large the file may be.

    Returns:
        Seconds from the first frame at which a new scene begins, ascending, without 0.

    Raises:
        BrokenClip: If the film cannot be read.
        ConfigError: If the library is not installed.
    """
    need_library(detector)
    import scenedetect

    check_file(clip.path, limits)
    with guarded(clip.path), _quiet():
        video = scenedetect.open_video(str(clip.path), backend="pyav")
        manager = scenedetect.SceneManager()
        least = max(1, math.ceil(least_s * float(video.frame_rate)))
        manager.add_detector(getattr(scenedetect, _CLASSES[detector])(min_scene_len=least))
        if not manager.detect_scenes(video):
            raise BrokenClip(clip.path, "no frame of it can be decoded")
        scenes = manager.get_scene_list()
    return [float(start.seconds) for start, _ in scenes[1:]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep FFmpeg as quiet as it was: the library has it tell all that it does."""
    level = av.logging.get_level()
    try:
        yield
    finally:
        av.logging.set_level(level)


def need_library(detector: str) -> None:
    """Refuse to begin where PySceneDetect, or OpenCV, on which its detectors stand, is missing.

    Raises:
        ConfigError: If so.
    """
    try:
        import scenedetect  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ConfigError(
            "--detector",
            f"{detector} is PySceneDetect's, which cannot be imported ({error})",
            "pip install 'vidapt[teach]'; the detector `leaps` needs nothing",
        ) from None
