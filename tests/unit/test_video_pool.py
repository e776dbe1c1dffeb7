"""Decoding ahead: order, broken clips, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.nouns import Clip, Frames
from vidapt.video import DEFAULT, Times, Uniform, decode, decode_ahead, write_mp4
from vidapt.video import pool as pool_module


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.mp4"
        write_mp4(path, np.full((5, 48, 64, 3), 40 * number, np.uint8), 5)
        made.append(Clip(str(number), path))
    return made


def workers() -> list[psutil.Process]:
    return [
        p for p in psutil.Process().children() if any("vidapt.video.worker" in word for word in p.cmdline())
    ]


@pytest.mark.parametrize("count", [0, 2])
def test_clips_come_back_in_order_and_equal_to_plain_decoding(clips: list[Clip], count: int) -> None:
    broken = Clip("broken", clips[0].path.with_name("none.mp4"), 0.5, 1.0)
    given = [*clips[:2], broken, *clips[2:]]
    policy = Uniform(count=3)
    taken = list(decode_ahead(given, policy, size=(24, 32), workers=count, ahead=3))
    assert [clip for clip, _ in taken] == given
    for clip, result in taken:
        if clip is broken:
            assert isinstance(result, BrokenClip)
            assert result.path == broken.path
            assert "no such file" in result.reason
        else:
            expected = decode(clip, policy, size=(24, 32))
            assert isinstance(result, Frames)
            assert np.array_equal(result.pixels, expected.pixels)
            assert np.array_equal(result.times_s, expected.times_s)
    assert workers() == []


def test_a_killed_worker_costs_one_clip(clips: list[Clip], tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    Image.new("L", (2500, 2500)).save(tmp_path / "large.png", compress_level=1)
    for number in range(200):
        (slow / f"{number}.png").symlink_to(tmp_path / "large.png")
    given = [clips[0], Clip("slow", slow), *clips[1:]]
    every_picture = Times(times=tuple(range(200)))
    results = decode_ahead(given, every_picture, size=(8, 8), workers=1, ahead=2)
    _, first = next(results)
    assert isinstance(first, Frames)
    time.sleep(0.3)  # the only worker is now busy with the slow clip
    (worker,) = workers()
    worker.kill()
    rest = list(results)
    assert isinstance(rest[0][1], BrokenClip)
    assert "signal 9" in rest[0][1].reason
    assert [clip.id for clip, _ in rest] == ["slow", "1", "2", "3", "4"]
    assert all(isinstance(result, Frames) for _, result in rest[1:])


FAILING = """
import sys
from vidapt.video import worker
right = worker.decode
def decode(clip, *rest, **more):
    if clip.id == "1":
        raise LookupError("nobody foresaw this")
    return right(clip, *rest, **more)
worker.decode = decode
worker.main(int(sys.argv[1]))  # vidapt.video.worker
"""


@pytest.mark.parametrize("count", [0, 1])
def test_an_error_nobody_foresaw_is_told_and_the_worker_goes_on(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def decode_but_one(clip: Clip, *rest: object, **more: object) -> Frames:
        if clip.id == "1":
            raise LookupError("nobody foresaw this")
        return decode(clip, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pool_module, "_MAIN", FAILING)
    monkeypatch.setattr(pool_module.worker, "decode", decode_but_one)
    with closing(decode_ahead(clips, Uniform(count=1), workers=count, ahead=1)) as results:
        _, first = next(results)
        before = [process.pid for process in workers()]
        _, second = next(results)
        _, third = next(results)
        assert [process.pid for process in workers()] == before
    assert isinstance(first, Frames)
    assert isinstance(second, BrokenClip)
    assert second.reason == "its decoder failed (LookupError: nobody foresaw this)"
    assert isinstance(third, Frames)


def test_a_worker_that_hangs_is_given_up(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    results = decode_ahead(clips[:2], Uniform(count=1), workers=1, ahead=1)
    next(results)
    (worker,) = workers()
    worker.suspend()
    monkeypatch.setattr(pool_module, "_GRACE_S", 0.5 - DEFAULT.wall_s)
    _, second = next(results)
    assert isinstance(second, BrokenClip)
    assert "hung" in second.reason
    assert not worker.is_running()
    results.close()


def test_clips_are_taken_lazily_and_leaving_early_ends_the_workers(clips: list[Clip]) -> None:
    asked: list[str] = []

    def endless() -> Iterator[Clip]:
        while True:
            asked.append("clip")
            yield clips[0]

    results = decode_ahead(endless(), Uniform(count=1), workers=1, ahead=3)
    next(results)
    assert len(asked) == 3
    assert workers() != []
    results.close()
    assert workers() == []


def test_a_worker_that_cannot_start_is_an_error_and_not_a_broken_clip(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_MAIN", "raise SystemExit(3)")
    with pytest.raises(VidaptError, match="exit code 3"):
        list(decode_ahead(clips, Uniform(count=1), workers=1))


def test_fewer_than_no_workers_are_refused(clips: list[Clip]) -> None:
    with pytest.raises(ConfigError, match="-3 decoding processes"):
        next(decode_ahead(clips, Uniform(count=1), workers=-3))


JOB = """
import sys
from pathlib import Path
from vidapt.nouns import Clip
from vidapt.video import Uniform, decode_ahead, pool
pool._START_S = 600.0
if sys.argv[2] == "starting":
    pool._MAIN = "import time; time.sleep(600)  # vidapt.video.worker"
try:
    clips = (Clip("clip", Path(sys.argv[1])) for _ in iter(int, 1))
    for _ in decode_ahead(clips, Uniform(count=1), workers=2):
        print("decoded", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@contextmanager
def running(clip: Clip, when: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A job in a process group of its own, and its decoding processes; it is gone afterwards."""
    command = [sys.executable, "-c", JOB, str(clip.path), when]
    job = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    found: list[psutil.Process] = []
    try:
        if when == "decoding":
            assert job.stdout is not None
            assert job.stdout.readline() == "decoded\n"
        while len(found := psutil.Process(job.pid).children()) < 2:
            assert job.poll() is None
            time.sleep(0.01)
        yield job, found
    finally:
        job.kill()
        for worker in found:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        job.communicate()


@pytest.mark.parametrize("when", ["starting", "decoding"])
def test_ctrl_c_ends_the_job_and_no_worker_says_a_word(clips: list[Clip], when: str) -> None:
    with running(clips[0], when) as (job, found):
        time.sleep(0.3)  # a starting worker is now at whatever it does before it listens
        assert job.pid not in {os.getpgid(worker.pid) for worker in found}
        os.killpg(job.pid, signal.SIGINT)
        said, complaints = job.communicate(timeout=60)
        assert said.endswith("stopped\n")
        assert complaints == ""
        assert not psutil.wait_procs(found, timeout=20)[1]


def test_workers_end_when_the_job_is_killed_without_warning(clips: list[Clip]) -> None:
    with running(clips[0], "decoding") as (job, found):
        job.kill()
        job.communicate(timeout=60)
        assert not psutil.wait_procs(found, timeout=20)[1]
