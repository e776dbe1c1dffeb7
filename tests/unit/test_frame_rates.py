"""Folders of pictures have the rate that their label or the user says; where nobody does, that is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidapt.captioning.found import find_clips
from vidapt.errors import BrokenClip, FormatError
from vidapt.formats import vidapt_jsonl
from vidapt.nouns import Clip, Sample
from vidapt.training.keys import ClipKeys
from vidapt.video import Every, Uniform, decode, decode_ahead, probe, write_mp4


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(8):
        Image.new("L", (16, 16), number * 30).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_the_rate_decides_when_pictures_were(album: Path, workers: int) -> None:
    clip = Clip("clip", album, rate=4.0)
    ((_, frames),) = decode_ahead([clip], Every(rate=2.0), size=None, workers=workers)
    assert not isinstance(frames, BrokenClip)
    assert frames.times_s.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert frames.moments.length == 2.0
    assert not frames.notes
    assert probe(album, rate=4.0).duration_s == 2.0


def test_a_rate_that_is_assumed_is_told(album: Path) -> None:
    frames = decode(Clip("clip", album), Uniform(count=8))
    assert frames.times_s[-1] == 7.0
    assert frames.notes == ("nothing says its fps; 1 is assumed",)
    for file in sorted(album.iterdir())[1:]:
        file.unlink()
    assert decode(Clip("clip", album), Uniform(count=1)).notes == ()  # a single picture needs none


def test_a_film_says_its_rate_itself(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_mp4(film, np.zeros((4, 16, 16, 3), np.uint8), rate=2.0)
    for take in (lambda: decode(Clip("clip", film, rate=2.0), Uniform()), lambda: probe(film, rate=2.0)):
        with pytest.raises(BrokenClip, match="fps 2 is given of it, and it is no folder"):
            take()


def rows(folder: Path, *given: object) -> list[Sample]:
    labels = folder / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in given))
    return list(vidapt_jsonl.tiny().read(labels))


def test_labels_say_stretch_and_rate(album: Path, tmp_path: Path) -> None:
    beside = {"video": "album", "fps": 4, "start_s": 0.5, "end_s": 1.5, "question": "what?", "answer": "a"}
    inside = {"media": [{"path": "album", "fps": 4}], "question": "what?", "answer": "b"}
    first, second = rows(tmp_path, beside, inside)
    assert first.media == (Clip("album@0.5-1.5", album, 0.5, 1.5, 4.0),)
    assert second.media == (Clip("album", album, rate=4.0),)
    frames = decode(first.media[0], Uniform(count=2))
    assert frames.times_s.tolist() == [0.75, 1.25]
    assert frames.moments.seconds == (0.25, 0.75)  # as the stretch has them
    assert frames.moments.length == 1.0
    out = tmp_path / "again.jsonl"
    vidapt_jsonl.write(out, [first, second])
    assert [one.media for one in vidapt_jsonl.tiny().read(out)] == [first.media, second.media]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"media": [{"path": "album"}], "fps": 4}, "'fps' stands beside 'media'"),
        ({"video": "album", "fps": 0}, "'fps' is 0"),
        ({"video": "album", "fps": 1e9}, r"'fps' is 1e\+09"),
        ({"media": [{"path": "album", "fps": 1e-9}]}, "'fps' is 1e-09"),
        ({"video": "album", "fps": -1}, "'fps' is -1"),
        ({"video": "album", "start_s": 3, "end_s": 2}, "ends at 2.0 s, not after its start at 3.0 s"),
    ],
)
def test_what_cannot_be_is_refused(album: Path, tmp_path: Path, row: dict[str, object], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        rows(tmp_path, {**row, "question": "what?", "answer": "a"})


def test_kept_clips_of_another_rate_are_other_clips(album: Path) -> None:
    keys = ClipKeys()
    assert len({keys(Clip("clip", album, rate=rate)) for rate in (None, 1.0, 2.0)}) == 3


def test_a_job_gives_its_albums_a_rate(album: Path) -> None:
    film = album.parent / "film.mp4"
    write_mp4(film, np.zeros((2, 16, 16, 3), np.uint8), rate=2.0)
    found = find_clips(album.parent, albums=True, fps=5.0)
    assert {clip.path.name: clip.rate for clip in found.clips} == {"album": 5.0, "film.mp4": None}
