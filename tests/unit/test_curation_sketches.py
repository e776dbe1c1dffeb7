"""Alike clips among very many: what is found is what all pairs find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidapt.curation import sketches
from vidapt.curation.likeness import FRAMES, Signatures, near
from vidapt.curation.sketches import alike, by_bands
from vidapt.nouns import Clip

WIDTH = 576


def made(frames: np.ndarray, moves: np.ndarray | None = None) -> Signatures:
    """Signatures of unit length, in the number format of those that lie in a file."""
    frames = frames / np.maximum(np.linalg.norm(frames, axis=2, keepdims=True), 1e-6)
    clips = [Clip(str(number), Path(str(number))) for number in range(len(frames))]
    return Signatures(
        clips, frames.astype(np.float16), np.ones(len(frames), bool) if moves is None else moves
    )


def in_full(found: Signatures) -> Signatures:
    return Signatures(found.clips, found.frames.astype(np.float32), found.moves)


def planted(seed: int, count: int, stills: bool) -> Signatures:
    """Clips, and of a third of them others that are more or less like them, frames in any order."""
    rng = np.random.default_rng(seed)
    clips = rng.standard_normal((count, 1 if stills else FRAMES, WIDTH))
    noise = rng.uniform(0, 0.6, (count // 3, 1, 1)) * rng.standard_normal((count // 3, *clips.shape[1:]))
    copies = clips[rng.integers(0, count, count // 3)] + noise
    frames = np.concatenate([clips, copies[:, rng.permutation(clips.shape[1])]])
    return made(np.repeat(frames, FRAMES, axis=1) if stills else frames, rng.random(len(frames)) < 0.9)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 300), st.booleans())
def test_pairs_are_those_of_all_pairs_and_none_that_is_clearly_alike_is_missed(
    seed: int, count: int, stills: bool
) -> None:
    found = planted(seed, count, stills)
    every = {pair[:2]: pair[2] for pair in near(in_full(found), 0.89)}
    told = {pair[:2]: pair[2] for pair in by_bands(found)}
    assert all(told[pair] == pytest.approx(every[pair], abs=2e-3) for pair in told)
    assert {pair for pair, like in every.items() if like >= 0.95} <= told.keys()
    close = {pair for pair, like in every.items() if like >= 0.902}
    assert len(close - told.keys()) <= 0.1 * len(close) + 1


def test_copies_by_the_hundred_are_each_found_to_be_like_the_first() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 1, FRAMES, WIDTH))
    noise = 0.05 * rng.standard_normal((300, FRAMES, WIDTH))
    found = by_bands(made(np.concatenate([other, one + noise])))
    partners = {second for _, second, _ in found}
    assert partners == set(range(2, 301))
    assert {second for first, second, _ in found if first == 1} == partners


def test_few_clips_are_held_each_against_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found = in_full(planted(1, 60, stills=False))
    assert list(alike(found)) == list(near(found))
    monkeypatch.setattr(sketches, "FEW", 10)
    assert list(alike(found)) == by_bands(found)
    nothing = made(np.zeros((3, FRAMES, WIDTH)))
    assert by_bands(nothing) == []
    empty = Signatures([], np.zeros((0, FRAMES, WIDTH), np.float32), np.zeros(0, bool))
    assert list(alike(empty)) == by_bands(empty) == []
