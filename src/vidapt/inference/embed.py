"""Clips as vectors, to find those that a model takes for the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from vidapt.curation.likeness import Embedded
from vidapt.errors import BrokenClip
from vidapt.files import exists
from vidapt.inference.matchers import By, open_matcher
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent


class Embedder:
    """Makes vectors of clips.

    Args:
        name: A dual encoder, whose vectors of clips are meant to be compared; or a model that answers, of
            whose visual tokens the mean is taken.
        device: Where it runs.
        workers: Decoding processes.

    Raises:
        CheckpointError: If there is no such model.
        ConfigError: If there is no such device.
    """

    def __init__(self, name: str | Path, device: str = "cpu", workers: int = 2) -> None:
        self._model, self._workers = open_matcher(name, By.said, device), workers

    def __call__(self, clips: Sequence[Clip], report: Reporter = silent) -> Embedded:
        """Vectors of clips that can be seen; broken and missing ones are left out."""
        present = [clip for clip in clips if exists(clip.path)]
        kept: list[Clip] = []
        rows: list[np.ndarray] = []
        seen = self._model.watch(present, self._workers)
        for done, (clip, one) in enumerate(zip(present, seen, strict=True), 1):
            report("embed clips", done, len(present))
            if isinstance(one, BrokenClip):
                continue
            vector = one if isinstance(one, Tensor) else one.tokens.mean(0)
            kept.append(clip)
            rows.append(vector.detach().float().cpu().numpy())
        return Embedded(kept, np.stack(rows) if rows else np.zeros((0, 1), np.float32))
