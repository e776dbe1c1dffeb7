"""Films whose every frame is one grey that tells its number, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import av
import numpy as np

from vidapt.nouns import Clip, Frames
from vidapt.video import DEFAULT, Times, decode
from vidapt.video.container import opened
from vidapt.video.pick import Findings, pick

RATE = 10
X264 = {"crf": "2", "g": "10", "bf": "2"}


def luma(number: int, base: int = 0) -> int:
    return 16 + (number * 7 + base) % 220


def grey_frame(level: int, size: tuple[int, int] = (64, 64), pixels: str = "yuv420p") -> av.VideoFrame:
    """One frame of one luma."""
    height, width = size
    frame = av.VideoFrame.from_ndarray(np.full((height, width), level, np.uint8), format="gray")
    frame.color_range = 1
    flat = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(flat.planes, (level, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return flat if pixels == "yuv420p" else flat.reformat(format=pixels)


def film(
    path: Path,
    container: str,
    codec: str = "libx264",
    *,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    count: int = 30,
    base: int = 0,
    rate: int = RATE,
    start_s: float = 0.0,
    sound_s: float = 0.0,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 64),
    aspect: Fraction | None = None,
) -> Path:
    """Write a film, with `sound_s` seconds of silence beside it."""
    with av.open(str(path), "w", format=container, options=muxing or {}) as out:
        sound = out.add_stream("aac" if container != "asf" else "wmav2", rate=16000) if sound_s else None
        stream = out.add_stream(codec, rate=rate, options=X264 if options is None else options)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        silence = iter(_silence(sound_s, start_s))
        if sound is not None:
            sound.bit_rate = 32000
        for number in range(count):
            frame = grey_frame(luma(number, base), size, pixels)
            frame.pts, frame.time_base = number + round(start_s * rate), Fraction(1, rate)
            out.mux(stream.encode(frame))
            if sound is not None:
                for piece in takewhile(lambda piece, at=number / rate: piece.time < at + start_s, silence):
                    out.mux(sound.encode(piece))
        out.mux(stream.encode(None))
        if sound is not None:
            for piece in [*silence, None]:
                out.mux(sound.encode(piece))
    return path


def _silence(sound_s: float, start_s: float) -> Iterator[av.AudioFrame]:
    for at in range(0, round(sound_s * 16000), 1024):
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.time_base = 16000, Fraction(1, 16000)
        piece.pts = at + round(start_s * 16000)
        yield piece


def lumas(frames: Frames) -> list[int]:
    """The luma that each frame was written with."""
    return [round(float(picture.mean()) * 219 / 255) + 16 for picture in frames.pixels]


def take(path: Path, *times: float, **more: object) -> Frames:
    return decode(Clip("clip", path), Times(times=times), **more)  # type: ignore[arg-type]


def why_plain(path: Path, *times: float) -> str:
    """Why everything had to be decoded, if it had to."""
    findings = Findings()
    with opened(path, DEFAULT, look=False) as source:
        list(pick(source, times, findings))
    return findings.plain
