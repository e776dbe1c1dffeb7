"""Pixels handed from one process to another: in memory that both see, where the system has such.

A decoder writes frames into memory without a name and sends its descriptor, so that nothing is copied through
a socket and nothing is left behind by whoever is killed. The receiver forbids that it shrinks before it looks
at it: what a hostile file made of a decoder may lie about pixels, but not pull them from under a reader.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

SHARES = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")
"""Whether this system has such memory."""

_WAIT_S = 30.0


def give(connection: Connection, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Send frames, as `take` receives them."""
    if not SHARES:
        connection.send_bytes(pixels.data.cast("B"))
        return
    descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, pixels.nbytes)
        with mmap.mmap(descriptor, pixels.nbytes) as memory:
            target = np.frombuffer(memory, np.uint8).reshape(pixels.shape)
            target[...] = pixels
            del target  # it would keep the memory from being closed
        with _line(connection) as line:
            socket.send_fds(line, [b"f"], [descriptor])
    finally:
        os.close(descriptor)


def take(connection: Connection, shape: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Receive frames of a shape.

    Raises:
        EOFError: If the other side ended.
        OSError: If what it sent is no such memory.
        ValueError: If it is too small, or frames have no such shape.
    """
    if len(shape) != 4 or any(type(side) is not int or side < 1 for side in shape):
        raise ValueError("frames have four sides")
    size = prod(shape)
    if not SHARES:
        pixels = np.empty(shape, np.uint8)
        connection.recv_bytes_into(pixels.data.cast("B"))
        return pixels
    if not connection.poll(_WAIT_S):
        raise ValueError("no frames came")
    with _line(connection) as line:
        _, found, _, _ = socket.recv_fds(line, 1, 1)
    if not found:
        raise EOFError
    try:
        fcntl.fcntl(found[0], fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        if os.fstat(found[0]).st_size < size:
            raise ValueError("there are fewer frames than were told")
        # Private: whoever writes into the frames has pages of their own.
        memory = mmap.mmap(found[0], size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        for descriptor in found:
            os.close(descriptor)
    return np.frombuffer(memory, np.uint8).reshape(shape)


def _line(connection: Connection) -> socket.socket:
    return socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
