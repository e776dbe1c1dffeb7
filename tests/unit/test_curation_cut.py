"""Films are cut into clips that hold every frame once; what is done stays, what is broken is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_video_shots import RATE, filmed, scene, still

from vidapt.curation.cut import JOURNAL, CutBy, CutFilms, cut
from vidapt.errors import BrokenClip, ConfigError
from vidapt.nouns import Clip
from vidapt.video import decode, probe
from vidapt.video.choose import Every
from vidapt.video.pieces import Piece, write_pieces


def run(folder: Path, out: Path, cutting: CutBy) -> CutFilms:
    films = [Clip(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*.*"))]
    return cut(films, out, cutting, workers=0)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    (folder / "day").mkdir(parents=True)
    filmed(folder / "day" / "a.mp4", still(1, 2.3), still(2, 4.1), still(3, 1.6))
    filmed(folder / "b.mp4", still(4, 3))
    (folder / "c.mp4").write_bytes(b"no film at all")
    return folder


def test_each_shot_becomes_a_file(films: Path, tmp_path: Path) -> None:
    found = run(films, tmp_path / "clips", CutBy())
    by_name = {film.film: film for film in found.films}
    assert by_name["day/a.mp4"].clips == ["day/a-0001.mp4", "day/a-0002.mp4", "day/a-0003.mp4"]
    assert list(by_name["day/a.mp4"].frames) == [23, 41, 16]
    assert list(by_name["b.mp4"].frames) == [30]
    assert by_name["c.mp4"].broken
    assert found.broken == [by_name["c.mp4"]]
    for number, name in enumerate(by_name["day/a.mp4"].clips, 1):
        frames = decode(Clip(name, tmp_path / "clips" / name), Every(rate=RATE)).pixels
        off = np.abs(frames.astype(int) - scene(number)).mean()
        other = np.abs(frames.astype(int) - scene(number + 1)).mean()
        assert off < 10 < other, "the frames of this shot, and no other's"


def test_frames_keep_their_moments_and_none_is_lost(tmp_path: Path) -> None:
    clip, _ = filmed(tmp_path / "a.mp4", still(1, 1.0), still(2, 1.0))
    pieces = [Piece(0.0, tmp_path / "one.mp4"), Piece(0.75, tmp_path / "two.mp4")]
    assert write_pieces(clip.path, pieces) == [8, 12]
    assert probe(tmp_path / "two.mp4").rate == pytest.approx(RATE)
    times = decode(Clip("two", tmp_path / "two.mp4"), Every(rate=RATE)).times_s
    assert times == pytest.approx(np.arange(12) / RATE, abs=1e-3)


def test_stretches_in_which_a_film_stands_still_are_told_and_are_no_clips(tmp_path: Path) -> None:
    clip, _ = filmed(tmp_path / "a.mp4", still(1, 1.0))
    names = [tmp_path / f"{number}.mp4" for number in range(3)]
    first, between, last = 0.0, 0.52, 0.56  # no frame begins between the latter two
    pieces = [Piece(at, name) for at, name in zip((first, between, last), names, strict=True)]
    assert write_pieces(clip.path, pieces) == [6, 0, 4]
    assert [name.exists() for name in names] == [True, False, True]


def test_clips_do_not_lie_among_the_films(films: Path) -> None:
    for out in (films, films / "day" / "clips"):
        told = subprocess.run(
            [sys.executable, "-m", "vidapt", "data", "cut", films, "--out", out],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (told.returncode, "lies among the films" in told.stderr) == (2, True)
        assert not (out / JOURNAL).exists()


def test_equal_lengths_leave_no_crumb_at_the_end(films: Path, tmp_path: Path) -> None:
    found = run(films, tmp_path / "clips", CutBy(by=3.95))
    frames = {film.film: list(film.frames) for film in found.films}
    assert frames["day/a.mp4"] == [40, 40], "the last tenth of a second is no clip"
    assert frames["b.mp4"] == [30]


def test_what_is_done_is_not_done_again_until_it_changes(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    assert run(films, out, CutBy()).done == 3
    with (out / JOURNAL).open("ab") as journal:
        journal.write(b'{"film": "half')  # a killed process
    again = run(films, out, CutBy())
    assert (again.done, again.clips) == (0, 4)
    (out / "day" / "a-0002.mp4").unlink()
    assert run(films, out, CutBy()).done == 1, "a clip that is gone is cut anew"
    assert run(films, out, CutBy(by=2.0)).done == 3, "another way to cut is other work"


def test_films_of_one_stem_keep_their_clips_apart(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    filmed(folder / "a.mp4", still(1, 2))
    filmed(folder / "x.mp4", still(2, 2))[0].path.rename(folder / "a.mov")
    clips = [name for film in run(folder, tmp_path / "clips", CutBy()).films for name in film.clips]
    assert clips == ["a.mov-0001.mp4", "a.mp4-0001.mp4"]


def test_a_film_that_ends_early_is_told(tmp_path: Path) -> None:
    clip, _ = filmed(tmp_path / "a.mp4", still(1, 2.0))
    with pytest.raises(BrokenClip, match=r"no frame can be decoded of the stretch from 5.000 s on"):
        write_pieces(clip.path, [Piece(0.0, tmp_path / "one.mp4"), Piece(5.0, tmp_path / "two.mp4")])
    assert not (tmp_path / "two.mp4").exists()


@pytest.mark.parametrize(
    "given", [{"by": 0.2}, {"by": float("nan")}, {"least_s": -1.0}, {"detector": "eyes"}]
)
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        CutBy(**given)  # type: ignore[arg-type]


def test_a_missing_library_is_told_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(ConfigError, match=r"vidapt\[teach\]"):
        CutBy(detector="content")


def test_pyscenedetect_finds_the_same_cuts(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("scenedetect")
    found = run(films, tmp_path / "clips", CutBy(detector="content"))
    assert [list(film.frames) for film in found.films if film.film == "day/a.mp4"] == [[23, 41, 16]]
    assert [film.film for film in found.broken] == ["c.mp4"]


def test_the_command(films: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vidapt", "data", "cut", str(films), "--out", str(tmp_path / "clips")]
    done = subprocess.run([*command, "--workers", "0", "--json"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["clips"], told["broken"], told["done"]) == (4, 1, 3)
    wrong = subprocess.run([*command, "--by", "often"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "--by" in wrong.stderr
