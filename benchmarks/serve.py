"""How a server bears clients of which a fifth send rubbish, too much, too slowly, or nothing.

    python benchmarks/serve.py [--seconds 300] [--clients 64] [--pace 4] [--out FILE]

Starts `vidapt serve` with the shipped model. Every client asks about a clip every `pace` seconds, and one
request in five is a bad one. Before and behind that, for half as long each, the bad ones are left out and
nothing else is changed. Told are the times of good requests in both, what bad ones were answered, and the
memory of the server with its decoders, whose slope is that of a line through it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

from _machine import describe
from vidapt.video import write_mp4
from vidapt.worlds.billiards import simulate

RESULTS = Path(__file__).parent / "results" / "serve.json"
KEY = "sk-benchmark-" + "0" * 32
CHAT = "/v1/chat/completions"
WARM_S, WARM_UP_S = 10.0, 45.0
LIMIT_S = 90.0
"""Longer than any request may take."""

QUESTIONS = ("how many balls are there?", "describe the video.", "which ball hits the red ball?")


@dataclass
class Seen:
    """What clients met in one phase."""

    good_s: list[float] = field(default_factory=list)
    good: Counter[str] = field(default_factory=Counter)
    bad: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    memory: list[tuple[float, float]] = field(default_factory=list)


class Clients:
    """All of them, in one event loop."""

    def __init__(self, port: int, clips: list[bytes], huge: bytes) -> None:
        self.port, self.huge = port, huge
        self.clips = [base64.b64encode(clip).decode() for clip in clips]

    async def send(
        self, body: bytes, head: str = "", *, length: int | None = None, linger_s: float = 0.0
    ) -> str:
        """One request on a connection of its own; the status of its answer, `closed` without one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        size = len(body) if length is None else length
        lines = head or (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
        )
        try:
            writer.write(lines.encode() + body)
            await writer.drain()
            if linger_s:
                await asyncio.sleep(linger_s)
                return "left"
            found = await asyncio.wait_for(reader.read(), LIMIT_S)
            return found[9:12].decode() or "closed"
        except (ConnectionError, TimeoutError) as error:
            return type(error).__name__
        finally:
            writer.close()

    def body(self, clip: str, question: str, **more: Any) -> bytes:
        """A question about a clip."""
        part = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{clip}"}}
        content = [part, {"type": "text", "text": question}]
        return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()

    async def good(self, draw: random.Random) -> str:
        """Ask something sensible."""
        clip, question = draw.choice(self.clips), draw.choice(QUESTIONS)
        return await self.send(self.body(clip, question, max_tokens=32))

    def bad(self, draw: random.Random) -> tuple[str, Callable[[], Awaitable[str]]]:
        """Something that is not sensible, by its name."""
        clip, junk = draw.choice(self.clips), base64.b64encode(draw.randbytes(50_000)).decode()
        whole = self.body(clip, QUESTIONS[1])
        huge = self.body(base64.b64encode(self.huge).decode(), QUESTIONS[0])
        kinds: dict[str, Callable[[], Awaitable[str]]] = {
            "no JSON": lambda: self.send(whole[: draw.randrange(len(whole))]),
            "no video": lambda: self.send(self.body(junk, QUESTIONS[0])),
            "cut video": lambda: self.send(self.body(clip[: len(clip) // 8 * 4], QUESTIONS[0])),
            "8192x8192": lambda: self.send(huge),
            "many parts": lambda: self.send(b"[" + b"[]," * 1_000_000 + b"[]]"),
            "too large": lambda: self.send(b"x" * (8 << 20), length=64 << 20),
            "no number": lambda: self.send(self.body(clip, QUESTIONS[0], temperature=float("nan"))),
            "no model": lambda: self.send(whole.replace(b'"m"', b'"n"')),
            "no key": lambda: self.send(
                whole.replace(b"a", b"b"), f"POST {CHAT} HTTP/1.1\r\nhost: a\r\n\r\n"
            ),
            "hangs": lambda: self.send(whole[:100], length=len(whole)),
            "head hangs": lambda: self.send(b"", "POST / HT"),
            "leaves": lambda: self.send(self.body(clip, QUESTIONS[1], max_tokens=1000), linger_s=0.2),
        }
        name = draw.choice(sorted(kinds))
        return name, kinds[name]

    async def one(self, number: int, until: float, pace_s: float, seen: Seen, *, bad: bool) -> None:
        """One client; the same draws with and without bad requests."""
        draw = random.Random(number)
        await asyncio.sleep(draw.random() * pace_s)
        while time.monotonic() < until:
            began = time.monotonic()
            if draw.random() < 0.2:
                name, send = self.bad(draw)
                if bad:
                    seen.bad[name][await send()] += 1
            else:
                status = await self.good(draw)
                seen.good[status] += 1
                seen.good_s.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, began + pace_s * draw.uniform(0.5, 1.5) - time.monotonic()))


def held(server: psutil.Process) -> float:
    """MiB of a process and its children."""
    total = 0.0
    for one in (server, *server.children(recursive=True)):
        try:
            total += one.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            continue
    return total


def phase(
    clients: Clients, count: int, seconds: float, pace_s: float, server: psutil.Process, *, bad: bool
) -> Seen:
    seen, over, began = Seen(), threading.Event(), time.monotonic()

    def look() -> None:
        while not over.wait(1.0):
            seen.memory.append((time.monotonic() - began, held(server)))

    async def all_of_them() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(clients.one(n, until, pace_s, seen, bad=bad) for n in range(count)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        asyncio.run(all_of_them())
    finally:
        over.set()
        watcher.join()
    return seen


def told(phases: list[Seen]) -> dict[str, Any]:
    times = np.array([second for one in phases for second in one.good_s])
    return {
        "requests": len(times),
        "status": dict(sum((one.good for one in phases), Counter())),
        "p50_s": round(float(np.quantile(times, 0.5)), 3),
        "p99_s": round(float(np.quantile(times, 0.99)), 3),
    }


def slope(memory: list[tuple[float, float]]) -> float:
    """MiB a minute, once all is warm."""
    rows = np.array([row for row in memory if row[0] > WARM_S])
    return round(float(np.polyfit(rows[:, 0] / 60, rows[:, 1], 1)[0]), 2)


def clips_in(folder: Path) -> tuple[list[bytes], bytes]:
    simulate(folder / "pool", clips=8, seed=3, workers=1)
    write_mp4(folder / "huge.mp4", np.zeros((2, 8192, 8192, 3), np.uint8), 2)
    clips = [path.read_bytes() for path in sorted((folder / "pool" / "clips").glob("*.mp4"))]
    return clips, (folder / "huge.mp4").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--pace", type=float, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        clips, huge = clips_in(Path(home))
        command = [sys.executable, "-m", "vidapt", "serve", "m=billiards-home", "--port", "0", "--json"]
        log = (Path(home) / "log").open("w")
        environment = os.environ | {"VIDAPT_SERVE_KEY": KEY}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2].partition("/")[0])
        server, clients = psutil.Process(process.pid), Clients(port, clips, huge)
        phase(clients, given.clients, WARM_UP_S, given.pace / 2, server, bad=True)
        cases = [(given.seconds / 2, False), (given.seconds, True), (given.seconds / 2, False)]
        seen = [phase(clients, given.clients, s, given.pace, server, bad=bad) for s, bad in cases]
        alive = process.poll() is None
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    without, with_bad = told([seen[0], seen[2]]), told([seen[1]])
    found = {
        "machine": describe("torch", "fastapi", "starlette", "uvicorn"),
        "seconds": given.seconds,
        "clients": given.clients,
        "pace_s": given.pace,
        "without_bad": without,
        "with_bad": with_bad,
        "p99_ratio": round(with_bad["p99_s"] / without["p99_s"], 2),
        "bad": {name: dict(counts) for name, counts in sorted(seen[1].bad.items())},
        "memory_mib": [[round(mib) for _, mib in one.memory[::30]] for one in seen],
        "slope_mib_a_minute": [slope(one.memory) for one in seen],
        "alive": alive,
        "exit_status": status,
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
