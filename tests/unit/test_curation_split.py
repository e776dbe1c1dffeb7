"""`vidapt data split` and `stats`: nothing of what is held out is in what is learned from."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from curation_tools import film, row, write
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.curation import check, split, stats
from vidapt.curation.split import dealt
from vidapt.errors import ConfigError
from vidapt.formats import open_samples


def homes(out: Path) -> dict[str, str]:
    """The part of every clip's file."""
    found: dict[str, str] = {}
    for name in ("train", "val", "test"):
        for sample in open_samples(out / f"{name}.jsonl"):
            for clip in sample.media:
                assert found.setdefault(clip.path.name, name) == name
    return found


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Twelve films, a copy, one encoded anew, and stretches of one."""
    for number in range(12):
        film(tmp_path / f"{number}.mp4", number)
    shutil.copy(tmp_path / "0.mp4", tmp_path / "copy.mp4")
    film(tmp_path / "again.mp4", 1, noise=4, shift=9)
    names = [f"{number}.mp4" for number in range(12)] + ["copy.mp4", "again.mp4"]
    rows = [row(name, question) for name in names for question in ("what?", "who?")]
    rows += [
        row("2.mp4", start_s=0.5),
        row("2.mp4", end_s=0.5),
        {"media": [], "question": "1?", "answer": "2"},
    ]
    return write(tmp_path / "labels.jsonl", rows)


def test_what_hangs_together_stays_together(pool: Path, tmp_path: Path) -> None:
    for seed in range(4):
        out = tmp_path / f"out{seed}"
        found = split([pool], out, seed=seed, workers=0)
        parts = homes(out)
        assert parts["copy.mp4"] == parts["0.mp4"]
        assert parts["again.mp4"] == parts["1.mp4"]
        assert sum(part.rows for part in found.parts.values()) == 31
        assert min(part.clips for part in found.parts.values()) >= 1
        assert (found.ties["file"], found.ties["content"], found.ties["frames"]) == (2, 1, 1)
        report = check([out / f"{name}.jsonl" for name in ("train", "val", "test")], workers=0)
        assert not {"leak", "likeness"} & report.counts.keys()
        assert all(one.likeness < 0.9 for one in found.neighbours)
        assert all(a.likeness >= b.likeness for a, b in pairwise(found.neighbours))


def test_without_frames_what_was_encoded_anew_may_leak_and_is_told_by_the_check(
    pool: Path, tmp_path: Path
) -> None:
    for seed in range(20):
        split([pool], tmp_path / "out", seed=seed, frames=False, workers=0)
        parts = homes(tmp_path / "out")
        if parts["again.mp4"] != parts["1.mp4"]:
            break
    report = check([tmp_path / "out" / f"{name}.jsonl" for name in ("train", "val", "test")], workers=0)
    assert report.counts["likeness"] == 1


def test_sessions_are_what_a_pattern_finds_or_folders(tmp_path: Path) -> None:
    rows = []
    for number in range(20):
        name = f"day{number // 2}/cam{number % 2}_{number}.mp4"
        film(tmp_path / name, number)
        rows.append(row(name))
    labels = write(tmp_path / "l.jsonl", rows)
    usual = split([labels], tmp_path / "usual", workers=0)
    assert usual.sessions == "the 10 folders of clips"
    parts = homes(tmp_path / "usual")
    assert all(parts[f"cam0_{n}.mp4"] == parts[f"cam1_{n + 1}.mp4"] for n in range(0, 20, 2))
    cameras = split([labels], tmp_path / "by", by=r"(cam\d)_", ratios={"train": 1, "test": 1}, workers=0)
    assert {part.groups for part in cameras.parts.values()} == {1}
    with pytest.raises(ConfigError, match="2 group"):
        split([labels], tmp_path / "no", by=r"(cam\d)_", workers=0)
    with pytest.raises(ConfigError, match="finds nothing in"):
        split([labels], tmp_path / "no", by="day1/", workers=0)
    with pytest.raises(ConfigError, match="no regular expression"):
        split([labels], tmp_path / "no", by="(", workers=0)


@given(st.lists(st.integers(1, 9), min_size=3, max_size=40), st.integers(0, 5))
def test_parts_are_near_their_shares_and_none_is_empty(sizes: list[int], seed: int) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    ratios = {"train": 0.8, "val": 0.1, "test": 0.1}
    homes = dealt(groups, ratios, seed)
    assert homes == dealt(groups, ratios, seed)
    assert set(homes.values()) == set(ratios)
    assert homes.keys() == set(groups)
    for name, share in ratios.items():
        rows = sum(sizes[group] for group, home in homes.items() if home == name)
        assert abs(rows - share * len(groups)) <= 2 * max(sizes)


def test_the_commands_write_what_trainers_read_and_count_it(pool: Path, tmp_path: Path) -> None:
    command = [
        "data",
        "split",
        str(pool),
        "--out",
        str(tmp_path / "o"),
        "--ratios",
        "train=3,test=1",
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["parts"]["train"]["rows"] == len(list(open_samples(tmp_path / "o" / "train.jsonl")))
    assert CliRunner().invoke(app, [*command[:-4], "--ratios", "train=x"]).exit_code == 2
    counted = CliRunner().invoke(app, ["data", "stats", str(tmp_path / "o" / "train.jsonl"), "--json"])
    assert json.loads(counted.stdout.splitlines()[-1])["rows"] == said["parts"]["train"]["rows"]


def test_numbers_of_a_data_set(pool: Path) -> None:
    found = stats([pool])
    assert (found.rows, found.unsound, found.clips) == (31, 0, 16)
    assert found.media == {"video": 30, "text": 1}
    assert found.sizes == {"64x64": 16}
    assert found.seconds is not None
    assert found.seconds.percentiles["p100"] == 2.0
    assert found.seconds.percentiles["p0"] == 0.5
    assert found.asked is not None
    assert sum(found.asked.bins) == found.asked.count == 31
    words = stats([pool], length_of=lambda text: len(text.split()), look=False)
    assert words.unit == "tokens"
    assert words.asked is not None
    assert words.asked.mean == 1.0
