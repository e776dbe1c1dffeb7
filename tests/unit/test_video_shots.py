"""Hard cuts are found where they are; motion, fades, flashes and what is broken are no cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip
from vidapt.video import shots, write_mp4
from vidapt.video.shots import Shots, find_shots

RATE = 10


def scene(seed: int) -> np.ndarray:
    """A picture of 48x64 unlike that of any other seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)


def filmed(path: Path, *parts: np.ndarray, rate: int = RATE) -> tuple[Clip, float]:
    frames = np.concatenate(parts)
    write_mp4(path, frames, rate, gop=50)
    return Clip(path.name, path), len(frames) / rate


def still(seed: int, seconds: float) -> np.ndarray:
    return np.stack([scene(seed)] * round(seconds * RATE))


def cuts(*films: tuple[Clip, float]) -> list[list[float]]:
    return [one.cuts for one in find_shots(films, workers=0)]


def test_cuts_of_several_films_are_found_to_the_frame(tmp_path: Path) -> None:
    one = filmed(tmp_path / "1.mp4", still(1, 2.3), still(2, 4.1), still(3, 1.6))
    none = filmed(tmp_path / "0.mp4", still(4, 3))
    long = filmed(tmp_path / "2.mp4", still(1, 30.0), still(2, 31.2), still(5, 3))
    assert cuts(none, one, long) == [[], pytest.approx([2.3, 6.4]), pytest.approx([30.0, 61.2])]


def test_a_camera_that_moves_and_a_dissolve_are_no_cuts(tmp_path: Path) -> None:
    wide = np.concatenate([scene(seed) for seed in range(8)], axis=1)
    pan = np.stack([wide[:, at : at + 64] for at in range(0, 440, 8)])
    steps = np.linspace(0, 1, 20)[:, None, None, None]
    dissolve = (scene(1) * (1 - steps) + scene(2) * steps).astype(np.uint8)
    assert shots.difference(pan[0], pan[5]) > shots._DIFFERENT, "else nothing is tried"
    moving = filmed(tmp_path / "pan.mp4", pan)
    slow = filmed(tmp_path / "slow.mp4", still(1, 2), dissolve, still(2, 2))
    assert cuts(moving, slow) == [[], []]


def test_a_flash_and_shots_of_less_than_a_second_are_no_shots(tmp_path: Path) -> None:
    white = np.full((2, 48, 64, 3), 255, np.uint8)
    flash = filmed(tmp_path / "flash.mp4", still(1, 2), white, still(1, 2.8))
    short = filmed(tmp_path / "short.mp4", still(1, 3), still(2, 0.5), still(3, 3))
    assert cuts(flash) == [[]]
    (found,) = cuts(short)
    assert len(found) <= 1


def test_the_beginning_and_the_end_of_a_film_are_compared_as_well(tmp_path: Path) -> None:
    assert cuts(filmed(tmp_path / "a.mp4", still(1, 1.2), still(2, 1.2))) == [[pytest.approx(1.2)]]


def test_what_cannot_be_looked_at_is_told_and_the_rest_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = filmed(tmp_path / "a.mp4", still(1, 32), still(2, 35))
    through = shots.decode_ahead

    def failing(clips: object, policy: object, **more: object) -> object:
        for clip, frames in through(clips, policy, **more):  # type: ignore[arg-type]
            yield clip, BrokenClip(clip.path, "torn") if clip.start_s == 0 else frames

    monkeypatch.setattr(shots, "decode_ahead", failing)
    heard: list[tuple[str, int, int]] = []
    (found,) = find_shots([film], workers=0, report=lambda *told: heard.append(told[:3]))
    assert found == Shots([pytest.approx(32.0)], [shots.Unseen(0.0, 30.0, "torn")])
    assert heard == [("look for shots", number, 3) for number in (1, 2, 3)]
    (lost,) = find_shots([(Clip("no", tmp_path / "no.mp4"), 4.0)], workers=0)
    assert lost == Shots([], [shots.Unseen(0.0, 4.0, "torn")])


def test_few_frames_are_asked_for_whatever_the_number_of_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = filmed(tmp_path / "a.mp4", *(still(seed, 3.2) for seed in range(10)))
    asked: list[tuple[float, int]] = []
    through = shots.decode_ahead

    def counting(clips: object, policy: object, **more: object) -> object:
        for clip, frames in through(clips, policy, **more):  # type: ignore[arg-type]
            asked.append((clip.end_s - clip.start_s, len(frames)))
            yield clip, frames

    monkeypatch.setattr(shots, "decode_ahead", counting)
    assert len(cuts(film)[0]) == 9
    assert [seconds for seconds, _ in asked if seconds > 1] == [30, pytest.approx(2)]
    assert sum(frames for _, frames in asked) <= 2 * 32 + 9 * 31
