"""Films are cut once, where they were asked to be, and every stretch stands for itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_captioning_parts import ROW, row

from _stub_engine import StubEngine
from vidapt.captioning import chunks
from vidapt.captioning.chunks import UNKNOWN, Cutting, by_shots, by_time, cut
from vidapt.captioning.found import order
from vidapt.captioning.journal import Cut, Journal, Stretch
from vidapt.captioning.rows import CaptionRow, read_rows, write_rows
from vidapt.captioning.store.asked import Asked
from vidapt.errors import BrokenClip, ConfigError
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.video import Times, write_mp4
from vidapt.video.shots import Shots, Unseen


def spans(stretches: Any) -> list[tuple[float | None, float | None]]:
    return [(one.start_s, one.end_s) for one in stretches]


@pytest.mark.parametrize(
    ("length", "overlap", "wanted"),
    [
        (182, 2, [(0, 62), (60, 122), (120, 182)]),
        (183, 2, [(0, 62), (60, 122), (120, 183)]),
        (187, 2, [(0, 62), (60, 122), (120, 182), (180, 187)]),
        (120.04, 0, [(0, 60), (60, 120.04)]),
        (60.04, 2, [(None, None)]),
        (60, 0, [(None, None)]),
        (5, 2, [(None, None)]),
        (70, 30, [(None, None)]),
    ],
)
def test_a_film_is_cut_by_time_and_a_short_rest_is_no_stretch(
    length: float, overlap: float, wanted: list[tuple[float, float]]
) -> None:
    assert spans(by_time(length, 60, overlap)) == wanted


@given(st.floats(1, 40_000), st.floats(60, 3000), st.floats(0, 0.99))
def test_stretches_cover_the_film_without_a_gap_and_none_is_needless(
    length: float, seconds: float, share: float
) -> None:
    found = spans(by_time(length, seconds, share * seconds))
    if found == [(None, None)]:
        assert length <= seconds * (1 + max(share, 0.1)) + 1e-6
        return
    starts, ends = [start for start, _ in found], [end for _, end in found]
    assert (starts[0], ends[-1]) == (0.0, round(length, 3))
    assert starts == [pytest.approx(number * seconds, abs=1e-3) for number in range(len(found))]
    assert all(end >= later - 2e-3 for end, later in zip(ends, starts[1:], strict=False))
    assert all(end < ends[-1] for end in ends[:-1])


def test_a_shot_ends_before_the_next_ones_first_frame_and_names_stay_in_order() -> None:
    found = by_shots(Shots([2.5000001, 7.3333333, 12.0]), 20.0)
    assert spans(found) == [(0.0, 2.499), (2.5, 7.333), (7.334, 11.999), (12.0, 20.0)]
    assert spans(by_shots(Shots([]), 20.0)) == [(None, None)]
    names = [f"a.mp4@{chunks._seconds(start)}-20" for start in (0.0, 2.048, 2.48, 2.5, 12, 12.034, 12.5, 110)]
    assert sorted(names, key=order) == names
    assert names[1:4] == ["a.mp4@2.048-20", "a.mp4@2.480-20", "a.mp4@2.500-20"]


def test_what_could_not_be_looked_at_is_told_of_the_shots_it_may_have_cut() -> None:
    found = by_shots(Shots([10.0, 40.0], [Unseen(15.0, 30.0, "torn\x00")]), 60.0)
    assert [len(one.notes) for one in found] == [0, 1, 0]
    assert found[1].notes[0].startswith("shots could not be looked for from 15 to 30 s: torn")


@pytest.mark.parametrize(
    ("chunk", "overlap", "told"),
    [
        ("60", 60.0, "60 s of a chunk of 60 s leave nothing new"),
        ("60", -1.0, "-1.0 s cannot be"),
        ("60", float("nan"), "nan s cannot be"),
        ("0", 0.0, "0.0 s cannot be"),
        ("0.5", 0.0, "0.5 s cannot be"),
        ("inf", 0.0, "inf s cannot be"),
        ("nan", 0.0, "nan s cannot be"),
        ("scenes", 0.0, "is 'scenes'"),
        ("shots", 2.0, "shots do not overlap"),
        (None, 2.0, "nothing is cut that could overlap"),
    ],
)
def test_what_cannot_be_cut_is_refused(chunk: str | None, overlap: float, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        Cutting.of(chunk, overlap)
    assert told in error.value.found


def test_jobs_that_cut_otherwise_are_other_jobs() -> None:
    ways = [None, Cutting.of(60), Cutting.of("60", 2), Cutting.of(61), Cutting.of("shots")]
    decoding = Decoding(max_new_tokens=8)

    def asked(way: Cutting | None, frames: Any = None) -> Asked:
        engine: Any = StubEngine()
        engine.frames = frames
        return Asked.of(engine, ["say"], decoding, way, None, "here")

    assert len({asked(way).settings for way in ways}) == len(ways)
    with pytest.raises(ConfigError, match="looks at the same moments of every file"):
        asked(ways[1], Times(times=(1.0,)))


def film(path: Path, seconds: float, rate: float = 4.0) -> Clip:
    frames = np.random.default_rng(3).integers(0, 256, (round(seconds * rate), 32, 32, 3), dtype=np.uint8)
    write_mp4(path, frames, rate)
    return Clip(path.name, path)


def cut_in(folder: Path, films: dict[str, Clip], way: Cutting) -> tuple[chunks.Pieces, dict[str, Cut]]:
    with Journal(folder / "journal") as journal:
        return cut(films, way, journal, "s", workers=0), dict(journal.cuts)


def test_every_stretch_is_a_clip_with_a_key_and_a_still_is_whole(tmp_path: Path) -> None:
    long, short = film(tmp_path / "long.mp4", 7), film(tmp_path / "short.mp4", 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "empty.mp4").touch()
    still, empty = Clip("a.png", tmp_path / "a.png"), Clip("empty.mp4", tmp_path / "empty.mp4")
    films = {"kl": long, "ks": short, "kp": still, "ke": empty}
    pieces, cuts = cut_in(tmp_path, films, Cutting(3.0, 1.0))
    assert [(one.id, one.start_s, one.end_s) for one in pieces.clips.values()] == [
        ("long.mp4@0-4", 0.0, 4.0),
        ("long.mp4@3-7", 3.0, 7.0),
        ("short.mp4", 0.0, None),
        ("a.png", 0.0, None),
    ]
    assert list(pieces.clips)[2:] == ["ks", "kp"]
    assert not {"kl"} & set(pieces.clips)
    assert pieces.broken == {"empty.mp4": "it is empty (zero bytes)"}
    assert set(cuts) == {"kl", "ks", "kp"}
    other, _ = cut_in(tmp_path, {"kx": long}, Cutting(3.0, 1.0))
    assert not set(other.clips) & set(pieces.clips), "other content has other keys"


def test_a_film_is_opened_once_however_long_it_is_and_not_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = film(tmp_path / "long.mp4", 36_000, 1 / 300)
    asked: list[str] = []
    through = chunks.decode_ahead

    def counting(clips: Any, policy: Any, **more: Any) -> Any:
        for clip, frames in through(clips, policy, **more):
            asked.append(clip.id)
            assert len(frames) == 1
            yield clip, frames

    monkeypatch.setattr(chunks, "decode_ahead", counting)
    for _ in range(2):
        pieces, _ = cut_in(tmp_path, {"k": long}, Cutting(60.0, 2.0))
        assert len(pieces.clips) == 600
    assert asked == ["long.mp4"]


def test_a_film_of_unknown_length_is_whole_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, frames = film(tmp_path / "a.mp4", 2), SimpleNamespace(length_s=0.0)
    monkeypatch.setattr(chunks, "decode_ahead", lambda clips, *_, **__: ((clip, frames) for clip in clips))
    for way in (Cutting(1.0), Cutting(None)):
        pieces, _ = cut_in(tmp_path, {f"k{way.seconds}": one}, way)
        assert list(pieces.clips.values()) == [one]
        assert list(pieces.notes.values()) == [(UNKNOWN,)]


def test_shots_are_looked_for_in_groups_that_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = {name: film(tmp_path / f"{name}.mp4", 5) for name in "abc"}
    groups: list[list[str]] = []

    def find(group: Any, **_: Any) -> list[Shots]:
        groups.append([clip.id for clip, _ in group])
        if len(groups) == 2:
            raise KeyboardInterrupt
        return [Shots([2.0]) for _ in group]

    monkeypatch.setattr(chunks, "find_shots", find)
    monkeypatch.setattr(chunks, "_GROUP_FILMS", 2)
    with pytest.raises(KeyboardInterrupt):
        cut_in(tmp_path, films, Cutting(None))
    pieces, _ = cut_in(tmp_path, films, Cutting(None))
    assert groups == [["a.mp4", "b.mp4"], ["c.mp4"], ["c.mp4"]]
    assert [clip.id for clip in pieces.clips.values()] == [
        f"{name}.mp4@{part}" for name in "abc" for part in ("0-1.999", "2-5")
    ]


def test_a_stretch_and_a_file_of_one_name_are_refused(tmp_path: Path) -> None:
    long, odd = film(tmp_path / "a.mp4", 7), film(tmp_path / "a.mp4@0-3", 2)
    with pytest.raises(ConfigError, match=r"another clip is called a\.mp4@0-3"):
        cut_in(tmp_path, {"x": long, "y": odd}, Cutting(3.0))


def test_where_a_film_is_cut_survives_in_the_journal(tmp_path: Path) -> None:
    entry = Cut("k", "s", (Stretch(None, None), Stretch(0.0, 2.5, ("odd",))))
    with Journal(tmp_path / "j") as journal:
        journal.add(entry)
    with Journal(tmp_path / "j") as journal:
        assert journal.cuts == {"k": entry}


def stretch(film: str, start: float, end: float, key: str, folder: str = "here") -> CaptionRow:
    return row(f"{film}@{start:g}-{end:g}", key, folder, start_s=start, end_s=end)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_stretches_are_kept_in_both_kinds_of_files_and_old_files_are_read(
    tmp_path: Path, suffix: str
) -> None:
    path, rows = tmp_path / f"rows{suffix}", [row("a"), stretch("b", 60, 122, "k")]
    write_rows(path, rows)
    assert read_rows(path) == rows
    if suffix == ".parquet":
        table = pq.read_table(path)
        assert table["start_s"].to_pylist() == [None, 60.0]
        pq.write_table(table.drop_columns(["start_s", "end_s"]).slice(0, 1), path)
        assert read_rows(path) == rows[:1]
    plain = {key: value for key, value in ROW.to_dict().items() if key not in ("start_s", "end_s")}
    assert CaptionRow.from_dict(plain) == ROW


def test_a_film_that_a_decoder_cannot_open_is_broken_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = {name: film(tmp_path / f"{name}.mp4", 3) for name in "ab"}
    through = chunks.decode_ahead

    def dying(clips: Any, policy: Any, **more: Any) -> Any:
        for clip, frames in through(clips, policy, **more):
            yield clip, BrokenClip(clip.path, "its decoder died twice") if clip.id == "a.mp4" else frames

    monkeypatch.setattr(chunks, "decode_ahead", dying)
    pieces, cuts = cut_in(tmp_path, films, Cutting(1.0))
    assert pieces.broken == {"a.mp4": "its decoder died twice"}
    assert all(clip.path.name == "b.mp4" for clip in pieces.clips.values())
    assert set(cuts) == {"b"}
