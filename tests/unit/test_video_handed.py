"""Frames handed from process to process."""

from __future__ import annotations

import os
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from vidapt.video import handed
from vidapt.video.handed import SHARES, give, take

shared = pytest.mark.skipif(not SHARES, reason="this system has no memory without a name")


@pytest.fixture
def line() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shares", [pytest.param(True, marks=shared), False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 40, 30, 3)])
def test_what_is_given_is_taken(
    shares: bool, shape: tuple[int, ...], line: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "SHARES", shares)
    ours, theirs = line
    for _ in range(2):
        pixels = frames(*shape)
        give(theirs, pixels)
        theirs.send_bytes(b"and then")
        found = take(ours, list(shape))
        assert np.array_equal(found, pixels)
        assert ours.recv_bytes() == b"and then", "nothing else was taken from the line"
        found[...] = 0  # frames are their owner's
        assert pixels.any()


@shared
def test_nothing_is_left_open(line: tuple[Connection, Connection]) -> None:
    ours, theirs = line
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        give(theirs, frames(2, 8, 8, 3))
        take(ours, [2, 8, 8, 3])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@shared
def test_what_was_taken_cannot_be_pulled_away(line: tuple[Connection, Connection]) -> None:
    ours, theirs = line
    descriptor = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 192)
    with socket.fromfd(theirs.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        socket.send_fds(raw, [b"f"], [descriptor])
    found = take(ours, [1, 8, 8, 3])
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    assert not found.any()
    os.close(descriptor)


@shared
@pytest.mark.parametrize("what", ["a file", "too small", "unsealable", "nothing", "gone"])
def test_a_decoder_that_was_taken_over_is_not_believed(
    what: str, line: tuple[Connection, Connection], tmp_path: Path
) -> None:
    ours, theirs = line
    (tmp_path / "file").write_bytes(bytes(192))
    sent = {
        "a file": lambda: os.open(tmp_path / "file", os.O_RDWR),
        "too small": lambda: os.memfd_create("frames", os.MFD_ALLOW_SEALING),
        "unsealable": lambda: os.memfd_create("frames"),
    }
    if what == "gone":
        theirs.close()
    else:
        with socket.fromfd(theirs.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            if what == "nothing":
                raw.sendall(b"f")
            else:
                descriptor = sent[what]()
                os.truncate(descriptor, 100 if what == "too small" else 192)
                socket.send_fds(raw, [b"f"], [descriptor])
                os.close(descriptor)
    with pytest.raises((OSError, ValueError, EOFError)):
        take(ours, [1, 8, 8, 3])
