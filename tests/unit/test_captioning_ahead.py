"""The next clips are looked at while these are answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store_tools import rows_of, run, write

from _stub_engine import StubEngine
from vidapt.captioning.store.ahead import one_ahead
from vidapt.captioning.store.shard import Shard
from vidapt.errors import VidaptError
from vidapt.nouns import Clip
from vidapt.video import Meter, Uniform, Wanted, decode_each, pool

LONG_S = 30


class Source:
    """Numbers, with who made them, and when that thread was let go."""

    def __init__(self, most: int = 10**6, fails_at: int | None = None) -> None:
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.closed_by: int | None = None
        self._most, self._fails_at = most, fails_at

    def numbers(self) -> Generator[int, None, None]:
        try:
            for number in range(self._most):
                self.threads.add(threading.get_ident())
                if number == self._fails_at:
                    raise VidaptError("a clip", "something is wrong", "mend it")
                self.made.append(number)
                yield number
        finally:
            self.closed_by = threading.get_ident()


def wait_for(what: Iterator[bool]) -> None:
    until = time.monotonic() + LONG_S
    while not next(what):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_all_come_in_order_from_one_other_thread() -> None:
    source = Source(7)
    assert list(one_ahead(source.numbers(), Future(), Meter())) == list(range(7))
    assert len(source.threads) == 1
    assert source.threads == {source.closed_by}
    assert threading.get_ident() not in source.threads


def test_one_is_made_ahead_and_no_more() -> None:
    source = Source()
    with closing(one_ahead(source.numbers(), Future(), Meter())) as found:
        for number in range(4):
            assert next(found) == number
            wait_for(iter(lambda: len(source.made) == number + 2, None))  # noqa: B023 - used at once
            time.sleep(0.02)
            assert len(source.made) == number + 2
    assert source.closed_by in source.threads


def test_what_fails_there_is_raised_here_behind_what_came_before() -> None:
    source, stop = Source(fails_at=2), Future[None]()
    found = one_ahead(source.numbers(), stop, Meter())
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(VidaptError, match="something is wrong"):
        next(found)
    assert stop.done()
    assert source.closed_by in source.threads


def test_who_leaves_does_not_wait_for_a_decoder_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, hanging = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hanging.set()
        held.wait(LONG_S)

    monkeypatch.setattr(pool.worker, "attempt", hang)
    monkeypatch.setattr(pool.Crew, "stop", lambda _: held.set())
    stop, meter = Future[None](), Meter()
    clips = (Wanted(Clip("a", tmp_path / "a.mp4"), Uniform(count=1)) for _ in range(3))

    def numbers() -> Generator[object, None, None]:
        yield 0
        yield from decode_each(clips, workers=0, meter=meter, stop=stop)

    with closing(one_ahead(numbers(), stop, meter)) as found:
        assert next(found) == 0
        assert hanging.wait(LONG_S)
        since = time.monotonic()
    assert time.monotonic() - since < LONG_S / 2


def test_waiting_for_frames_counts_where_nothing_else_could_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter = Meter()
    meter.waited(since=98.0)  # nobody works beside
    assert meter.waited_s == 2
    with meter.idle():
        now[0] = 101.0
        meter.waited(since=95.0)  # work ended at 100
        assert meter.waited_s == 3
        now[0] = 104.0
        meter.waited(since=102.0)
        assert meter.waited_s == 5
    now[0] = 110.0
    meter.waited(since=104.0)  # there was work all the time
    assert meter.waited_s == 5


def test_shards_with_nothing_to_caption_are_not_held_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        write(tmp_path / "clips" / f"{number}.mp4", str(number).encode())
    run(tmp_path / "clips", tmp_path / "store", shard=1)
    first, held, most = rows_of(tmp_path / "store"), set[int](), list[int]()
    begin, close = Shard.__init__, Shard.close

    def begun(shard: Shard, *given: Any) -> None:
        begin(shard, *given)
        held.add(shard.number)
        most.append(len(held))

    def closed(shard: Shard) -> None:
        held.discard(shard.number)
        close(shard)

    monkeypatch.setattr(Shard, "__init__", begun)
    monkeypatch.setattr(Shard, "close", closed)
    engine = StubEngine()
    done = run(tmp_path / "clips", tmp_path / "store", engine, shard=1, again=True)
    assert (done.captioned, done.kept, engine.asked) == (0, 12, 0)
    assert max(most) <= 3, "one is finished, one is read, and one is being read"
    assert [row["captions"] for row in rows_of(tmp_path / "store")] == [row["captions"] for row in first]


def test_who_stops_does_not_wait_until_all_inputs_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        write(tmp_path / "clips" / f"{number}.mp4", str(number).encode())
    read, begun = Shard._read, threading.Event()
    reads: list[int] = []

    def slow(shard: Shard, at: int, *given: Any) -> Any:
        if shard.number:
            begun.set()
            time.sleep(0.1)
            reads.append(at)
        return read(shard, at, *given)

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done:
            assert begun.wait(LONG_S)
            raise KeyboardInterrupt

    monkeypatch.setattr(Shard, "_read", slow)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "clips", tmp_path / "store", shard=20, batch=1, report=report)
    assert len(reads) < 20
    assert not [one for one in threading.enumerate() if one.name.startswith(("vidapt-look", "vidapt-shard"))]
    assert run(tmp_path / "clips", tmp_path / "store", shard=20, batch=1).left == 0
