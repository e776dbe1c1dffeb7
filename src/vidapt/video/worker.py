"""A process that decodes one clip after another, so that a crashing decoder takes nothing else with it.

It is started by `pool` and talks over a socket: a JSON request in; out comes a JSON header and, unless
the clip is broken, the pixels (`handed`). Nothing is unpickled on either side: a decoder that was
taken over by a hostile file can lie about pixels, but run nothing in the process that asked.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.video.choose import Policy
from vidapt.video.decode import decode
from vidapt.video.guard import guarded
from vidapt.video.handed import give, take
from vidapt.video.limits import Limits

READY = b"ready"
_OVERHEAD_BYTES = 6 * 1024**3  # address space of the interpreter, the libraries and a decoder's own pictures
_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)


def request(clip: Clip, policy: Policy, size: tuple[int, int] | None, limits: Limits) -> bytes:
    """Pack what a worker has to do."""
    return json.dumps(
        {
            "id": clip.id,
            "path": str(clip.path.absolute()),
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "rate": clip.rate,
            "policy": policy.model_dump(mode="json"),
            "size": size,
            "limits": asdict(limits),
        }
    ).encode()


def receive(connection: Connection, clip: Clip) -> Frames | BrokenClip:
    """Read a worker's reply to `request`.

    Raises:
        EOFError: If the worker died before it had sent everything.
        OSError: If the connection broke.
    """
    header = json.loads(connection.recv_bytes())
    if "broken" in header:
        return BrokenClip(clip.path, header["broken"])
    pixels = take(connection, header["shape"])
    times = np.asarray(header["times_s"], np.float64)
    return Frames(pixels, times, tuple(header["notes"]), clip.start_s, header["length_s"])


def attempt(clip: Clip, policy: Policy, size: tuple[int, int] | None, limits: Limits) -> Frames | BrokenClip:
    """Decode a clip; whatever goes wrong costs that clip and no other.

    Args:
        clip: What to decode.
        policy: Which moments to take.
        size: (height, width) to resize to; None keeps the file's size.
        limits: What the clip may cost.

    Returns:
        Its frames, or why there are none: what is wrong with the clip, or the error that nobody foresaw.
    """
    try:
        with guarded(clip.path):
            return decode(clip, policy, size=size, limits=limits)
    except BrokenClip as broken:
        return broken


def serve(connection: Connection) -> None:
    """Answer requests until the other side hangs up."""
    try:
        connection.send_bytes(READY)
        while True:
            _answer(connection, json.loads(connection.recv_bytes()))
    except (EOFError, ConnectionError):
        return


def _answer(connection: Connection, asked: dict[str, Any]) -> None:
    clip = Clip(asked["id"], Path(asked["path"]), asked["start_s"], asked["end_s"], asked["rate"])
    limits = Limits(**asked["limits"])
    size = tuple(asked["size"]) if asked["size"] else None
    _bound_memory(limits)
    outcome = attempt(clip, _POLICY.validate_python(asked["policy"]), size, limits)
    if isinstance(outcome, BrokenClip):
        connection.send_bytes(json.dumps({"broken": outcome.reason}).encode())
        return
    times, notes = outcome.times_s.tolist(), list(outcome.notes)
    header = {"shape": outcome.pixels.shape, "times_s": times, "notes": notes, "length_s": outcome.length_s}
    connection.send_bytes(json.dumps(header).encode())
    give(connection, outcome.pixels)


def _bound_memory(limits: Limits) -> None:
    import resource  # not everywhere, and neither are the inherited sockets a worker talks over

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = limits.memory_bytes + _OVERHEAD_BYTES
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main(descriptor: int) -> None:
    """Serve on an inherited socket."""
    # Schedulers send it to every process; it is for the one that asked, which saves first and then hangs up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(Connection(descriptor))
