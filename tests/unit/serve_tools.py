"""A server in a thread of this process, and the clients that tests ask it with."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn
from openai import OpenAI

from vidapt.serving.app import House, make_app
from vidapt.serving.door import Door
from vidapt.serving.fetch import Fetcher
from vidapt.serving.gauges import Gauges
from vidapt.serving.keys import Key, Keys, digest_of
from vidapt.serving.serve import Wanted, make_server, open_flags, open_house, open_page
from vidapt.serving.terms import Terms
from vidapt.video import write_mp4

KEY, OTHER = "sk-test-" + "a" * 32, "sk-test-" + "b" * 32
KEYS = Keys([Key("ann", digest_of(KEY)), Key("bob", digest_of(OTHER))])
CHAT = "/v1/chat/completions"


@dataclass
class Up:
    """A server that is up."""

    port: int
    door: Door
    house: House
    log: list[str]
    client: OpenAI
    web: httpx2.Client = field(repr=False)
    server: uvicorn.Server = field(repr=False)

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
        return self.web.post(path, content=content, headers={k.replace("_", "-"): v for k, v in head.items()})

    def ask(self, content: Any, **more: Any) -> httpx2.Response:
        messages = [{"role": "user", "content": content}]
        return self.post(CHAT, {"model": "home", "messages": messages, "max_tokens": 4} | more)

    def get(self, path: str, key: str = KEY) -> httpx2.Response:
        return self.web.get(path, headers={"authorization": f"Bearer {key}"})


@contextmanager
def up(
    terms: Terms | None = None, models: tuple[str, ...] = ("home=billiards-home",), **more: Any
) -> Iterator[Up]:
    gauges, log = Gauges(), []
    terms = terms or Terms(workers=1)
    fetcher: Fetcher | None = more.pop("fetcher", None)
    wanted = Wanted(
        models, more.pop("keys", KEYS), terms, page=more.pop("page", False), flags=more.pop("flags", None)
    )
    with ExitStack() as held:
        house, _ = held.enter_context(open_house(wanted, gauges))
        if fetcher is not None:
            house.viewer._fetcher = fetcher
        app = make_app(house)
        page = open_page(app, house, wanted, log.append, held.enter_context(open_flags(wanted)))
        door = Door(app, terms, wanted.keys, gauges, log.append, page)
        server = make_server(door, terms.drain_s)
        line = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        port = line.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [line]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        web = held.enter_context(httpx2.Client(base_url=url, timeout=60))
        client = held.enter_context(OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60))
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield Up(port, door, house, log, client, web, server)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def data_url(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def shown(url: str, text: str = "how many balls are there?", kind: str = "video") -> list[dict[str, Any]]:
    """A clip or picture and a question about it."""
    name = f"{kind}_url"
    return [{"type": name, name: {"url": url}}, {"type": "text", "text": text}]


def film_in(folder: Path, name: str = "clip.mp4", side: int = 64, frames: int = 12) -> Path:
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 255, (frames, 8, 8, 3), np.uint8), side // 8, axis=1)
    write_mp4(folder / name, np.repeat(pixels, side // 8, axis=2), 6)
    return folder / name


def eventually(holds: Any, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())
