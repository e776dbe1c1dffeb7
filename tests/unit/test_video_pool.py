"""Decoding ahead: order, broken clips, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.nouns import Clip, Frames
from vidapt.video import (
    DEFAULT,
    Times,
    Uniform,
    Wanted,
    decode,
    decode_ahead,
    decode_each,
    pool,
    worker_process,
    write_mp4,
)


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


def slow_clip(folder: Path, pictures: int = 60) -> Clip:
    """An album that takes a second or more."""
    slow = folder / "slow"
    slow.mkdir()
    Image.new("L", (2500, 2500)).save(folder / "large.png", compress_level=1)
    for number in range(pictures):
        (slow / f"{number}.png").symlink_to(folder / "large.png")
    return Clip("slow", slow)


EVERY_PICTURE = Times(times=tuple(range(60)))


@pytest.mark.parametrize("count", [0, 1])
def test_every_clip_can_have_moments_and_a_size_of_its_own(clips: list[Clip], count: int) -> None:
    wanted = [Wanted(clip, Uniform(count=at + 1), (16, 16 + 8 * at)) for at, clip in enumerate(clips[:3])]
    found = list(decode_each(wanted, workers=count, ahead=2))
    assert [clip for clip, _ in found] == clips[:3]
    shapes = [frames.pixels.shape for _, frames in found if isinstance(frames, Frames)]
    assert shapes == [(1, 16, 16, 3), (2, 16, 24, 3), (3, 16, 32, 3)]


def test_a_worker_that_the_kernel_shoots_costs_no_clip(clips: list[Clip], tmp_path: Path) -> None:
    given = [clips[0], slow_clip(tmp_path), *clips[1:]]
    results = decode_ahead(given, EVERY_PICTURE, size=(8, 8), workers=1, ahead=2)
    next(results)
    time.sleep(0.3)  # the only worker is now busy with the slow clip
    (worker,) = workers()
    worker.kill()
    rest = list(results)
    assert [clip.id for clip, _ in rest] == ["slow", "1", "2", "3", "4"]
    assert all(isinstance(result, Frames) for _, result in rest)


def test_a_worker_that_is_shot_between_clips_costs_nothing(clips: list[Clip]) -> None:
    results = decode_ahead(clips, Uniform(count=1), workers=1, ahead=1)
    next(results)
    (worker,) = workers()
    worker.kill()
    worker.wait()
    assert all(isinstance(result, Frames) for _, result in results)


SHOT = """
import os, signal, sys
from pathlib import Path
from vidapt.video import worker
right = worker.decode
def decode(clip, *rest, **more):
    with Path(os.environ["SEEN"]).open("a") as file:
        file.write(f"{clip.id} {os.getpid()}\\n")
    if clip.id == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return right(clip, *rest, **more)
worker.decode = decode
worker.main(int(sys.argv[1]))  # vidapt.video.worker
"""


@pytest.mark.parametrize("count", [1, 3])
def test_only_a_clip_that_ends_two_workers_is_set_aside(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(worker_process, "_MAIN", SHOT)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    results = dict(decode_ahead(clips, Uniform(count=1), workers=count))
    broken = results.pop(clips[1])
    assert isinstance(broken, BrokenClip)
    assert broken.reason == "its decoder died twice (signal 9; alone: signal 9)"
    assert all(isinstance(result, Frames) for result in results.values())
    tries = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    fatal = [process for clip, process in tries if clip == "1"]
    assert len(fatal) == len(set(fatal)) == 2
    assert sorted(clip for clip, _ in tries) == ["0", "1", "1", "2", "3", "4"]


def test_the_second_try_is_made_while_nothing_else_is_decoded() -> None:
    gate, inside, most = worker_process.Gate(), [], []

    def stay(*, alone: bool) -> None:
        with gate.alone() if alone else gate.shared():
            inside.append(alone)
            time.sleep(0.01)
            most.append(list(inside))
            inside.remove(alone)

    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            threads.submit(stay, alone=number % 5 == 0)
    assert len(most) == 40
    assert all(people == [True] for people in most if True in people)
    assert max(map(len, most)) > 1


LYING = """
import sys
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[1]))
line.send_bytes(b"ready")
while line.recv_bytes():
    line.send_bytes(b'{"shape": [-1, 10000000000000, 3], "times_s": 1}')  # vidapt.video.worker
"""


def test_a_worker_that_says_what_no_worker_says_is_not_believed(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_MAIN", LYING)
    results = [result for _, result in decode_ahead(clips[:2], Uniform(count=1), workers=1)]
    assert all(
        isinstance(result, BrokenClip) and "cannot be understood" in result.reason for result in results
    )


def test_finished_frames_that_nobody_takes_are_bounded(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "AHEAD_BYTES", 48 * 64 * 3)
    asked: list[str] = []

    def endless() -> Iterator[Clip]:
        while True:
            asked.append("clip")
            yield clips[0]

    with closing(decode_ahead(endless(), Uniform(count=1), workers=1, ahead=3)) as results:
        next(results)
        assert len(asked) == 3
        time.sleep(1)  # the other two are decoded meanwhile
        for _ in range(2):
            next(results)
            assert len(asked) == 3
        next(results)
        assert len(asked) > 3


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

    monkeypatch.setattr(worker_process, "_MAIN", FAILING)
    monkeypatch.setattr(pool.worker, "decode", decode_but_one)
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
    monkeypatch.setattr(worker_process, "_GRACE_S", 0.5 - DEFAULT.wall_s)
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


def test_a_worker_that_never_starts_is_an_error_and_not_a_broken_clip(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_MAIN", "raise SystemExit(3)")
    monkeypatch.setattr(pool, "START_PAUSES_S", (0.0, 0.0))
    with pytest.raises(VidaptError, match="exit code 3"):
        list(decode_ahead(clips, Uniform(count=1), workers=2))


DYING_AT_START = """
import os, signal, sys
from pathlib import Path
for number in range(int(os.environ["DEATHS"])):
    try:
        Path(os.environ["SEEN"], str(number)).touch(exist_ok=False)
    except FileExistsError:
        continue
    os.kill(os.getpid(), signal.SIGKILL)
from vidapt.video.worker import main
main(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("count", "deaths"), [(1, 2), (2, 3)])
def test_workers_that_die_at_their_start_do_not_end_the_job(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, deaths: int
) -> None:
    """Three deaths of two workers: one of them may give up, and the other goes on."""
    monkeypatch.setattr(worker_process, "_MAIN", DYING_AT_START)
    monkeypatch.setattr(pool, "START_PAUSES_S", (0.0, 0.0, 0.0) if count == 1 else (0.0, 0.0))
    monkeypatch.setenv("SEEN", str(tmp_path))
    monkeypatch.setenv("DEATHS", str(deaths))
    results = list(decode_ahead(clips, Uniform(count=1), workers=count))
    assert all(isinstance(result, Frames) for _, result in results)
    assert [clip for clip, _ in results] == clips


def test_fewer_than_no_workers_are_refused(clips: list[Clip]) -> None:
    with pytest.raises(ConfigError, match="-3 decoding processes"):
        next(decode_ahead(clips, Uniform(count=1), workers=-3))


JOB = """
import sys
from pathlib import Path
from vidapt.nouns import Clip
from vidapt.video import Uniform, decode_ahead, worker_process
worker_process._START_S = 600.0
if sys.argv[2] == "starting":
    worker_process._MAIN = "import time; time.sleep(600)  # vidapt.video.worker"
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


def test_sigterm_to_every_process_leaves_decoding_to_whoever_asked(clips: list[Clip]) -> None:
    """Schedulers send it to all; the process that asked saves first, and then lets its workers go."""
    with closing(decode_ahead(clips, Uniform(count=2), workers=1, ahead=1)) as stream:
        first = next(stream)
        before = workers()
        for process in before:
            process.send_signal(signal.SIGTERM)
        taken = [first, next(stream)]
        assert [one.pid for one in workers()] == [one.pid for one in before] != []
        taken += stream
        assert [clip for clip, _ in taken] == clips
        assert all(isinstance(frames, Frames) for _, frames in taken)
