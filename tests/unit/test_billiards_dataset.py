from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from vidapt.errors import ConfigError, VidaptError
from vidapt.worlds.billiards import find_venue, load_records, simulate
from vidapt.worlds.billiards.clips import play
from vidapt.worlds.billiards.dataset import truth_of
from vidapt.worlds.billiards.table import FRAMES, POCKETS, SIDES, SLOTS
from vidapt.worlds.encode import encode

CLIPS, SEED, VENUE = 5, 12, "hall"
FILES = ["clips", "dataset.json", "events.jsonl", "labels.jsonl", "truth.safetensors"]


def make(out: Path, clips: int = CLIPS, **options) -> None:
    simulate(out, clips=clips, **{"venue": VENUE, "seed": SEED, "workers": 1, **options})


def content(out: Path) -> dict[str, bytes]:
    """Every file, hidden ones too, by its path in the folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A data set that nothing disturbed."""
    out = tmp_path_factory.mktemp("world") / "nested" / "pool"
    make(out)
    return out


def test_a_folder_holds_what_is_promised_and_nothing_else(whole):
    assert sorted(path.name for path in whole.iterdir()) == FILES
    assert sorted(path.name for path in (whole / "clips").iterdir()) == [f"{i:06d}.mp4" for i in range(CLIPS)]
    about = json.loads((whole / "dataset.json").read_text())
    assert (about["venue"], about["seed"], about["clips"], about["fps"]) == (VENUE, SEED, CLIPS, 10)
    assert [about["width"], about["height"]] == list(find_venue(VENUE).size)


def test_labels_are_the_questions_of_each_clip_in_order(whole):
    venue = find_venue(VENUE)
    rows = [json.loads(line) for line in (whole / "labels.jsonl").read_text().splitlines()]
    expected = [
        (f"clips/{played.record.index:06d}.mp4", qa.question, qa.answer, qa.facts())
        for played in play(SEED, range(CLIPS), venue)
        for qa in played.questions(venue)
    ]
    assert [(row["video"], row["question"], row["answer"], row["facts"]) for row in rows] == expected
    assert len({row["id"] for row in rows}) == len(rows)
    assert all((whole / row["video"]).is_file() for row in rows)


def test_labels_are_read_by_the_package_itself(whole):
    from vidapt.formats.vidapt_jsonl import tiny

    samples = list(tiny().read(whole / "labels.jsonl"))
    assert {sample.media[0].path.name for sample in samples} == {f"{i:06d}.mp4" for i in range(CLIPS)}
    assert all(sample.question and sample.answer and sample.facts["accept"] for sample in samples)


def test_clips_are_the_encoded_films_and_events_the_records(whole):
    venue = find_venue(VENUE)
    played = play(SEED, range(CLIPS), venue)
    assert load_records(whole / "events.jsonl") == [shot.record for shot in played]
    assert (whole / "clips" / "000003.mp4").read_bytes() == encode(played[3].film(venue), 10)


def test_truth_says_in_numbers_what_the_events_say_in_words(whole):
    truth, names = load_file(whole / "truth.safetensors"), ["white", *find_venue(VENUE).ball_set]
    shirts = json.loads((whole / "dataset.json").read_text())["shirts"]
    assert truth["tracks"].shape == (CLIPS, FRAMES, SLOTS, 3)
    for i, line in enumerate((whole / "events.jsonl").read_text().splitlines()):
        row = json.loads(line)
        events = row["events"]
        sunk = {e["ball"]: 1 + POCKETS.index(e["other"]) for e in events if e["event"] == "pocket"}
        pocket = [sunk.get(name, 0 if name in ["white", *row["balls"]] else -1) for name in names]
        assert truth["pocket"][i].tolist() == pocket
        hits = [(names.index(e["ball"]), names.index(e["other"])) for e in events if e["event"] == "hit"]
        touched = [
            (names.index(e["ball"]), SIDES.index(e["other"])) for e in events if e["event"] == "cushion"
        ]
        assert set(map(tuple, np.argwhere(truth["hits"][i]).tolist())) == set(hits)
        assert set(map(tuple, np.argwhere(truth["cushions"][i]).tolist())) == set(touched)
        assert truth["first_hit"][i] == next((other for ball, other in hits if ball == 0), 0)
        assert shirts[truth["shirt"][i]] == row["shirt"]
        assert (truth["tracks"][i, 0, :, 0] == [value >= 0 for value in pocket]).all()
        assert (truth["tracks"][i, -1, :, 0] == [value == 0 for value in pocket]).all()


def test_truth_of_many_clips_is_that_of_each():
    venue = find_venue("club")
    played = play(3, range(6), venue)
    together, (alone,) = truth_of(played, venue), [truth_of(played[4:5], venue)]
    for key, values in together.items():
        assert (values[4] == alone[key][0]).all()
    assert set(together["broken"].tolist()) <= {0, 1}


def test_two_workers_write_the_same_bytes_as_one_and_report_progress(whole, tmp_path):
    seen = []
    make(tmp_path / "two", workers=2, progress=lambda done, total: seen.append((done, total)))
    assert content(tmp_path / "two") == content(whole)
    assert seen[-1] == (CLIPS, CLIPS)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_missing_files_are_made_again_and_finished_clips_are_kept(whole, tmp_path):
    out = tmp_path / "pool"
    make(out)
    (out / "clips" / "000001.mp4").unlink()
    (out / "labels.jsonl").unlink()
    (out / "truth.safetensors").unlink()
    kept = (out / "clips" / "000002.mp4").stat().st_mtime_ns
    make(out)
    assert content(out) == content(whole)
    assert (out / "clips" / "000002.mp4").stat().st_mtime_ns == kept


def test_a_longer_data_set_begins_with_the_shorter_one(whole, tmp_path):
    out = tmp_path / "pool"
    make(out, clips=2)
    assert len((out / "events.jsonl").read_text().splitlines()) == 2
    make(out)
    assert content(out) == content(whole)


DIE = """
import os, signal, sys
from pathlib import Path
from vidapt.worlds.billiards import simulate
moves, replace = int(sys.argv[2]), os.replace
def die(*paths):
    global moves
    if not moves:
        os.kill(os.getpid(), signal.SIGKILL)
    moves -= 1
    return replace(*paths)
os.replace = die
simulate(Path(sys.argv[1]), clips=5, venue="hall", seed=12, workers=1)
"""


@pytest.mark.parametrize("moves", [0, 3, 8], ids=["at its first file", "among the clips", "among the labels"])
def test_a_run_killed_before_a_file_is_in_place_goes_on_to_the_same_result(whole, tmp_path, moves):
    out = tmp_path / "pool"
    killed = subprocess.run([sys.executable, "-c", DIE, str(out), str(moves)], timeout=120, check=False)
    assert killed.returncode < 0
    assert content(out) != content(whole)
    assert any(name.rpartition("/")[2].startswith(".") for name in content(out))
    make(out)
    assert content(out) == content(whole)


WORKER_DIES = """
import os, signal, sys
from pathlib import Path
from vidapt.errors import VidaptError
from vidapt.worlds import dataset
from vidapt.worlds.billiards import simulate

def die(*job):
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    dataset._make = die
    try:
        simulate(Path(sys.argv[1]), clips=4, workers=2)
    except VidaptError as error:
        print(error)
"""


def test_a_killed_worker_is_an_error_that_says_what_to_do(tmp_path):
    script = tmp_path / "dies.py"
    script.write_text(WORKER_DIES)
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "pool")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "a worker process ended before its clips were done" in run.stdout
    assert "fewer workers" in run.stdout


LONG = """
import sys
from pathlib import Path
from vidapt.worlds.billiards import simulate

if __name__ == "__main__":
    simulate(Path(sys.argv[1]), clips=100_000, venue="hall", workers=2)
"""


def test_workers_end_with_a_run_that_is_killed(tmp_path):
    script, out = tmp_path / "long.py", tmp_path / "pool"
    script.write_text(LONG)
    with subprocess.Popen([sys.executable, str(script), str(out)]) as run:
        limit = time.monotonic() + 60
        while not any(out.glob("clips/*.mp4")) and time.monotonic() < limit:
            time.sleep(0.05)
        workers = psutil.Process(run.pid).children(recursive=True)
        run.kill()
    _, left = psutil.wait_procs(workers, timeout=60)
    for worker in left:
        worker.kill()
    assert len(workers) >= 2
    assert left == []


@pytest.mark.parametrize("file", ["dataset.json", "000002.mp4", "labels.jsonl"])
def test_a_full_disk_is_told_and_with_space_again_the_run_goes_on(whole, tmp_path, monkeypatch, file):
    out, write = tmp_path / "pool", Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if file in path.name:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(VidaptError, match=rf"{file}: the disk is full(.|\n)*free some space"):
            make(out)
    assert not any(name.rpartition("/")[2].startswith(".") for name in content(out))
    make(out)
    assert content(out) == content(whole)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"seed": SEED + 1}, "seed"),
        ({"venue": "home"}, "venue, style, width, height"),
        ({"clips": CLIPS - 1}, "was begun with 5 clips"),
    ],
)
def test_a_folder_that_holds_another_data_set_is_refused_and_left_alone(whole, options, found):
    before = content(whole)
    with pytest.raises(ConfigError, match=found):
        make(whole, **options)
    assert content(whole) == before


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("holiday.txt", "x", "holds other files"),
        ("dataset.json", "{", "cannot be read"),
        ("dataset.json", "[]", "does not describe"),
        ("dataset.json", '{"world": "billiards", "clips": "many"}', "does not describe"),
        ("dataset.json", '{"world": "chess", "clips": 3}', "differs in: world"),
    ],
)
def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=found):
        make(tmp_path)
    assert content(tmp_path) == {name: text.encode()}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "pool").write_text("x")
    with pytest.raises(ConfigError, match="is a file and no folder"):
        make(tmp_path / "pool")
    with pytest.raises(ConfigError, match="pool is no folder"):
        make(tmp_path / "pool" / "inside")
    with pytest.raises(VidaptError, match="the name is too long"):
        make(tmp_path / ("n" * 300))


@pytest.mark.parametrize("options", [{"clips": 0}, {"seed": -1}, {"seed": 2**32}, {"workers": 0}])
def test_numbers_out_of_range_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(ConfigError, match="at least 1"):
        make(tmp_path / "pool", **options)
    assert not (tmp_path / "pool").exists()


def test_an_unknown_venue_offers_the_nearest_name_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"'hal'(.|\n)*did you mean 'hall'"):
        make(tmp_path / "pool", venue="hal")
    assert not (tmp_path / "pool").exists()
