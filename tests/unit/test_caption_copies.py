"""Which clips of very many are captioned where many show the same."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from vidapt.captioning.store.copies import _like
from vidapt.curation.likeness import FRAMES, SIDE, Signatures, near
from vidapt.curation.sketches import by_bands
from vidapt.nouns import Clip


def copies(count: int, noise: float) -> Signatures:
    """One scene over and over, with some noise."""
    rng = np.random.default_rng(0)
    scene = rng.standard_normal((1, FRAMES, SIDE * SIDE))
    frames = scene + noise * rng.standard_normal((count, FRAMES, SIDE * SIDE))
    frames /= np.linalg.norm(frames, axis=-1, keepdims=True)
    clips = [Clip(str(number), Path(f"{number}.mp4")) for number in range(count)]
    return Signatures(clips, frames.astype(np.float16), np.zeros(count, bool))


@pytest.mark.parametrize("noise", [0.1, 0.25])
def test_of_many_copies_one_is_captioned_though_not_all_pairs_are_known(noise: float) -> None:
    found = copies(300, noise)
    like = _like(found, by_bands(found))
    assert like == {str(number): "0" for number in range(1, 300)}
    assert like == _like(found, near(found))


def test_a_clip_that_is_like_copies_alone_is_captioned() -> None:
    found = copies(3, 0.0)
    found.frames[2] = np.roll(found.frames[2], 7, axis=-1)
    assert _like(found, [(0, 1, 0.95), (1, 2, 0.95)]) == {"1": "0"}


def test_the_order_of_pairs_makes_no_difference() -> None:
    found = copies(60, 0.25)
    pairs = list(by_bands(found))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    assert _like(found, pairs) == _like(found, shuffled)
