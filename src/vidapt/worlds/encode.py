"""Writes footage as H.264 in an mp4 container."""

from __future__ import annotations

import io

import av
import numpy as np

_OPTIONS = {"preset": "veryfast", "crf": "20", "g": "12"}
_BLOCK = 16
"""Side of an H.264 macroblock in pixels."""
_STABLE_WIDTH = 256


def encode(film: np.ndarray, fps: int) -> bytes:
    """Encode [T, H, W, 3] uint8 RGB, H and W even, as an mp4 file; the same film gives the same bytes.

    Key frames come every 12 frames, close enough together for cheap seeking.
    """
    options = dict(_OPTIONS)
    if film.shape[1] % _BLOCK or film.shape[2] % _STABLE_WIDTH:
        # Measured with x264's AVX-512 code: where the last row of blocks is not full, and with widths of 192,
        # 224 and 240, B-frames depend on what happens to lie in memory, and the same film gives several
        # different files. P-frames rarely do; its plain C code, a third slower, has not been seen to.
        options |= {"bf": "0", "x264-params": "asm=0"}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = film.shape[2], film.shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        for pixels in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
