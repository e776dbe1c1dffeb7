"""`vidapt serve` as it is run: up, asked, told to end while an answer is written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

CHAT = "/v1/chat/completions"
KEY = "sk-test-" + "c" * 32


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"VIDAPT_SERVE_KEY": KEY, "OMP_NUM_THREADS": "1"}
    environment["TMPDIR"] = str(tmp_path / "clips")
    (tmp_path / "clips").mkdir()
    command = [sys.executable, "-m", "vidapt", "serve", "m=billiards-home", "--port", "0", "--json"]
    command += ["--workers", "1"]
    with (tmp_path / "log").open("w") as log:
        made = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        yield made
        made.kill()
        made.communicate()


def test_what_is_under_way_is_answered_before_the_end(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    url = urllib.parse.urlsplit(json.loads(process.stdout.readline())["url"])
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "how many?"}]}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n"
    )
    head += "content-type: application/json\r\nconnection: close\r\n\r\n"
    with (
        httpx2.Client(base_url=f"http://{url.netloc}", headers={"authorization": f"Bearer {KEY}"}) as web,
        socket.create_connection((url.hostname, url.port), 30) as line,
    ):
        assert web.get("/ready").status_code == 200
        line.sendall(head.encode() + body[:9])
        assert _eventually(lambda: "\nvidapt_inside 1\n" in web.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        assert _eventually(lambda: web.get("/ready").status_code == 503)
        assert web.post(CHAT, content=body).status_code == 503
        assert web.get("/v1/models").status_code == 503
        line.sendall(body[9:])
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"role":"assistant"' in answer
    assert process.wait(30) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines if line["path"] == CHAT] == [503, 200]
    assert not list((tmp_path / "clips").glob("vidapt-*"))


def _eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False
