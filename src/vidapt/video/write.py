"""Writes clips: H.264 in MP4, complete or not at all."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vidapt.errors import ConfigError


def write_mp4(
    path: str | Path,
    frames: NDArray[np.uint8],
    rate: float | Fraction,
    *,
    crf: int = 20,
    preset: str = "veryfast",
    gop: int | None = None,
    b_frames: int | None = None,
) -> None:
    """Write frames as H.264 in an MP4 file that browsers play.

    The file appears under its name only when it is complete. The same frames give the same bytes.

    Args:
        path: Where to write; an existing file is replaced.
        frames: [T, H, W, 3] uint8, RGB. Odd sides are extended by one pixel, as 4:2:0 colour needs.
        rate: Frames per second.
        crf: Constant rate factor of x264: 0 is lossless, 51 worst.
        preset: Speed preset of x264.
        gop: Most frames between key frames; None leaves it to x264 (250).
        b_frames: Most consecutive B-frames; None leaves it to the preset.

    Raises:
        ConfigError: If the frames or the rate cannot be written.
    """
    path = Path(path)
    _check(path, frames, rate)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".mp4")
    os.close(handle)
    part = Path(name)
    options = {"crf": str(crf), "preset": preset}
    options |= {"g": str(gop)} if gop is not None else {}
    options |= {"bf": str(b_frames)} if b_frames is not None else {}
    try:
        _encode(part, _even(frames), Fraction(rate).limit_denominator(100_000), options)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(path: Path, frames: NDArray[np.uint8], rate: Fraction, options: dict[str, str]) -> None:
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _even(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    if height % 2 == 0 and width % 2 == 0:
        return frames
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _check(path: Path, frames: NDArray[np.uint8], rate: float | Fraction) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ConfigError(
            path,
            f"frames of shape {frames.shape} and type {frames.dtype} cannot be written",
            "give [T, H, W, 3] uint8 with at least one frame",
        )
    if not 0 < rate < 1000:
        raise ConfigError(
            path, f"{rate} frames per second cannot be written", "give a rate between 0 and 1000"
        )
