"""Small films under one fixed camera: a still background and a spot that moves in a way of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidapt.video import write_mp4

SIDE, FRAMES = 64, 12


def film(path: Path, motion: int, *, noise: int = 0, shift: int = 0) -> Path:
    """A film whose motion depends on its number alone; noise and a shift of levels make it another file."""
    blocks = np.random.default_rng(99).integers(0, 200, (8, 8, 3))  # as loud as a room, and the same for all
    background = np.kron(blocks, np.ones((SIDE // 8, SIDE // 8, 1), int))
    rng = np.random.default_rng(motion)
    start, speed = rng.uniform(8, SIDE - 8, 2), rng.uniform(-3, 3, 2)
    pixels = []
    for frame in range(FRAMES):
        picture = background + np.random.default_rng(noise * 100 + frame).integers(
            0, noise + 1, (SIDE, SIDE, 1)
        )
        y, x = (np.abs((start + speed * frame) % (2 * SIDE) - SIDE) * (SIDE - 6) / SIDE).astype(int)
        picture[y : y + 6, x : x + 6] = 250
        pixels.append(np.clip(picture + shift, 0, 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, np.stack(pixels).astype(np.uint8), 6)
    return path


def row(video: str, question: str = "what?", answer: str = "red", **more: Any) -> dict[str, Any]:
    return {"video": video, "question": question, "answer": answer, **more}


def write(path: Path, rows: Sequence[Any]) -> Path:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path
