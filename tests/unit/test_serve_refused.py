"""What a server turns away, each time with the reason, and never with more work than that takes."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openai
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_tools import CHAT, KEY, Up, data_url, eventually, film_in, shown, up

from vidapt.serving.fetch import Fetcher, is_open
from vidapt.serving.keys import Keys
from vidapt.serving.terms import MOST_LETTERS, Terms
from vidapt.video import write_mp4

BODY = 1 << 20
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Up]:
    with up(Terms(workers=1, body_bytes=BODY, bodies_bytes=3 * BODY, body_s=1.0, queue=3)) as found:
        yield found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_in(tmp_path_factory.mktemp("serve"))


def b64(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def why(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["message"]
    return str(error["code"])


@pytest.mark.parametrize(
    "key", ["", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer " + "a" * 60000]
)
def test_who_has_no_key_is_told_nothing(served: Up, key: str) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        response = served.web.get(path, headers={"authorization": key})
        assert why(response, 401) == "invalid_api_key"
        assert "home" not in response.text
    assert served.web.get("/health").json() == {"status": "ok"}
    assert served.web.get("/ready").json() == {"status": "ready"}


def test_openais_client_knows_a_wrong_key(served: Up) -> None:
    with pytest.raises(openai.AuthenticationError):
        served.client.with_options(api_key="sk-other").models.list()


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": -1},
        {"temperature": "warm"},
        {"top_p": 0},
        {"top_p": 1e400},
        {"max_tokens": 10**9},
        {"max_tokens": 10**30},
        {"max_tokens": 0},
        {"max_completion_tokens": 10**9},
        {"seed": 2**64},
        {"n": 2},
        {"stop": ["a"]},
        {"tools": [{}]},
        {"logprobs": True},
        {"messages": []},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "robot", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a" * (MOST_LETTERS + 1)}]},
        {"messages": [{"role": "user", "content": "long " * 15_000}]},
        {"messages": [{"role": "user", "content": "a <video> b"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "system", "content": shown("data:video/mp4;base64,AAAA")}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a+)+$"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://a/b"}}}},
        {"response_format": {"type": "yaml"}},
    ],
    ids=lambda value: str(value)[:60].encode("ascii", "replace").decode(),
)
def test_what_makes_no_sense_is_refused(served: Up, changes: dict[str, Any]) -> None:
    body = {"model": "home", "messages": [{"role": "user", "content": "a"}]} | changes
    why(served.post(CHAT, body), 400)


def test_an_unknown_model_is_named_one_that_is_known(served: Up) -> None:
    response = served.ask("a", model="hom\x1b[31m")
    assert why(response, 404) == "model_not_found"
    assert "home" in response.text
    assert "\x1b" not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b"[" + b"[]," * 60_000 + b"[]]", 413),
        (b"null", 400),
        (b"x" * (BODY + 1), 413),
    ],
    ids=["nothing", "cut", "no text", "deep", "many", "null", "large"],
)
def test_what_is_no_request_is_refused(served: Up, body: bytes, status: int) -> None:
    why(served.post(CHAT, body), status)


def test_other_kinds_of_bodies_are_refused(served: Up) -> None:
    good = json.dumps({"model": "home", "messages": [{"role": "user", "content": "a"}]}).encode()
    why(served.post(CHAT, good, content_type="text/plain"), 400)
    why(served.post("/v1/files", good), 415)
    why(served.post("/v1/files", b"--x\r\n", content_type="multipart/form-data; boundary=x"), 400)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (b64(b"this is no video"), 400),
        (b64(b""), 400),
        (b64(b"\x89PNG\r\n\x1a\nand no more"), 415),
        (b64(bytes(100), "application/pdf"), 415),
        (b64(bytes(100), "image/png"), 415),
        ("data:video/mp4;base64,AAA%", 400),
        ("data:video/mp4;base64,\u00e9", 400),
        ("data:video/mp4,AAAA", 415),
        ("/etc/passwd", 400),
        ("file:///etc/passwd", 400),
        ("file-0", 400),
        ("", 400),
        ("http://127.0.0.1/", 400),
        ("ftp://example.com/a.mp4", 400),
        ("concat:/etc/passwd|/etc/passwd", 400),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_what_is_no_clip_is_refused(served: Up, url: str, status: int) -> None:
    response = served.ask(shown(url))
    why(response, status)
    assert "/tmp" not in response.text


def test_too_many_clips_are_refused(served: Up, film: Path) -> None:
    parts = [shown(data_url(film))[0]] * 9 + [{"type": "text", "text": "a"}]
    why(served.ask(parts), 400)


def test_a_play_list_makes_no_connection(served: Up) -> None:
    asked: list[str] = []

    class Noted(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noted) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_address[1]}/a.ts"
        lists = [
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile {address}\n",
            f'<?xml version="1.0"?><MPD><Period><BaseURL>{address}</BaseURL></Period></MPD>',
        ]
        for text in lists:
            why(served.ask(shown(b64(text.encode()))), 400)
        other.shutdown()
    assert asked == []


def test_a_small_file_of_huge_pictures_costs_little(served: Up, tmp_path: Path) -> None:
    write_mp4(tmp_path / "huge.mp4", np.zeros((2, 8192, 8192, 3), np.uint8), 2)
    assert (tmp_path / "huge.mp4").stat().st_size < 300_000
    me = psutil.Process()

    def held() -> int:
        return sum(one.memory_info().rss for one in (me, *me.children(recursive=True)))

    why(served.ask(shown(b64(b"no video, so that the decoder is up"))), 400)
    before, most, over = held(), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], held())

    watcher = threading.Thread(target=look)
    watcher.start()
    response = served.ask(shown(data_url(tmp_path / "huge.mp4")))
    over.set()
    watcher.join()
    assert why(response, 400) == "unusable_media"
    assert "8192x8192" in response.text
    assert most[0] - before < 512 << 20


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_may_be_said(served: Up, text: str) -> None:
    assert served.ask(f"a {text}", max_tokens=1).status_code == (400 if "<video>" in text else 200)


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_may_be_sent(served: Up, body: bytes) -> None:
    assert 400 <= served.post(CHAT, body).status_code < 500


def raw(served: Up, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", served.port), 20) as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(pause_s)
        found = b""
        while not found.endswith(b"}") and (chunk := line.recv(1 << 16)):
            found += chunk
    return found


def test_a_body_that_does_not_come_is_not_waited_for(served: Up) -> None:
    found = raw(served, f"{HEAD}content-length: 100\r\n\r\n".encode(), b"{")
    assert b" 408 " in found.partition(b"\r\n")[0]
    assert eventually(lambda: served.door.inside == 0)


def test_a_body_without_a_length_is_charged_for_the_most(served: Up) -> None:
    head = f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode()
    chunk = b"10000\r\n" + b"x" * (1 << 16) + b"\r\n"
    found = raw(served, head, *[chunk] * 17)
    assert b" 413 " in found.partition(b"\r\n")[0]
    assert eventually(lambda: served.door._bodies.held == 0)


def test_who_is_too_many_is_sent_away_for_a_while(served: Up) -> None:
    """Three hold all places without sending anything; the fourth is told when to come again."""
    lines = [socket.create_connection(("127.0.0.1", served.port), 20) for _ in range(3)]
    try:
        for line in lines:
            line.sendall(f"{HEAD}content-length: 10\r\n\r\n".encode())
        assert eventually(lambda: served.door.inside == 3)
        response = served.ask("a")
        assert why(response, 429) == "server_busy"
        assert int(response.headers["retry-after"]) >= 1
        assert served.get("/v1/models").status_code == 200
    finally:
        for line in lines:
            line.close()
    assert eventually(lambda: served.door.inside == 0)
    assert served.ask("a").status_code == 200


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidapt.serving.serve._HEAD_S", 0.5)
    with up() as served, socket.create_connection(("127.0.0.1", served.port), 20) as line:
        began = time.monotonic()
        line.sendall(b"POST / HT")
        assert line.recv(10) == b""
        assert time.monotonic() - began < 10


def test_each_key_has_its_share_of_a_minute() -> None:
    with up(Terms(workers=1, per_minute=30)) as served:
        made = [served.ask("a", max_tokens=1) for _ in range(5)]
        assert [one.status_code for one in made].count(200) in (3, 4)
        assert why(made[-1], 429) == "rate_limit_exceeded"
        assert int(made[-1].headers["retry-after"]) >= 1
        with pytest.raises(openai.RateLimitError):
            served.client.models.list()


def test_what_takes_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with up(Terms(workers=1, timeout_s=0.3)) as served:
        running = served.house.tables["home"]._running
        plain = running.step
        monkeypatch.setattr(running, "step", lambda: (time.sleep(1), plain())[1])
        assert why(served.ask("a"), 504) == "timeout"
        assert eventually(lambda: served.door.inside == 0)


def test_a_fault_of_the_server_is_told_to_its_log_alone(
    served: Up, monkeypatch: pytest.MonkeyPatch, film: Path
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(served.house.viewer, "_worst", fails)
    response = served.ask(shown(data_url(film)))
    assert why(response, 500) == "fault"
    assert "secret" not in response.text
    assert eventually(lambda: any("ZeroDivisionError at test_serve_refused.py" in one for one in served.log))
    assert not any("secret" in one for one in served.log)
    monkeypatch.undo()
    assert served.ask(shown(data_url(film))).status_code == 200


def test_pages_of_other_sites_may_not_ask_where_no_keys_are_wanted() -> None:
    with up(keys=Keys()) as served:
        assert served.ask("a", max_tokens=1).status_code == 200
        for head in ({"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}):
            assert why(served.post(CHAT, {}, **head), 403) == "no_browsers"


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_addresses_that_are_open(address: str, *, is_one: bool) -> None:
    assert is_open(address) is is_one


class Site(http.server.BaseHTTPRequestHandler):
    """One that leads where its paths say."""

    content = b""
    asked: ClassVar[list[tuple[str, str]]]

    def do_GET(self) -> None:
        type(self).asked.append((self.headers["host"], self.path))
        where, _, to = self.path[1:].partition("/")
        if where == "to":
            self.send_response(302)
            self.send_header("location", base64.urlsafe_b64decode(to).decode())
            self.end_headers()
        elif where == "slow":
            self.send_response(200)
            self.end_headers()
            while not self.wfile.closed:
                self.wfile.write(b"x")
                time.sleep(0.05)
        else:
            self.send_response(200)
            if where != "unsaid":
                self.send_header("content-length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None: ...


NAMES = {
    "good.example": ["93.184.216.34"],
    "inner.example": ["10.0.0.7"],
    "both.example": ["93.184.216.34", "127.0.0.1"],
    "nobody.example": [],
}


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[type[Site], Fetcher, list[str]]]:
    """A site that every address of the open internet leads to, and the addresses that were called."""

    class Open(Site):
        asked: ClassVar[list[tuple[str, str]]] = []

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    called: list[str] = []
    with Quiet(("127.0.0.1", 0), Open) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()

        def dial(address: str, port: int, timeout_s: float) -> socket.socket:
            called.append(address)
            return socket.create_connection(("127.0.0.1", site.server_address[1]), timeout_s)

        def resolve(host: str, port: int) -> list[str]:
            if host in NAMES:
                return NAMES[host]
            return [host] if host.replace(".", "").isdigit() else []

        yield Open, Fetcher(100_000, 1.0, resolve, dial), called
        site.shutdown()


@pytest.fixture(scope="module")
def open_server(sites: tuple[type[Site], Fetcher, list[str]]) -> Iterator[Up]:
    with up(Terms(workers=1, allow_urls=True), fetcher=sites[1]) as found:
        yield found


def leading(to: str) -> str:
    return f"http://good.example/to/{base64.urlsafe_b64encode(to.encode()).decode()}"


def test_a_clip_is_fetched(open_server: Up, sites: Any, film: Path) -> None:
    site, _, called = sites
    site.content = film.read_bytes()
    for url in ("http://good.example/a.mp4?b=c", leading("http://good.example/b"), leading("/unsaid/c")):
        made = open_server.ask(shown(url))
        assert made.status_code == 200, made.text
        assert made.json()["choices"] == open_server.ask(shown(data_url(film))).json()["choices"]
    assert site.asked[0] == ("good.example", "/a.mp4?b=c")
    assert set(called) == {"93.184.216.34"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://inner.example/a.mp4",
        "http://both.example/a.mp4",
        "http://nobody.example/a.mp4",
        "http://user:word@good.example/",
        "http://good.example:x/",
        "http://good.example\\@inner.example/",
        "http://good.example/a\r\nx: y",
        "http://[::1]/",
        leading("http://127.0.0.1/"),
        leading("http://169.254.169.254/"),
        leading("http://inner.example/"),
        leading("file:///etc/passwd"),
        leading(leading("http://10.0.0.1/")),
    ],
)
def test_addresses_within_are_not_called(open_server: Up, sites: Any, url: str) -> None:
    _, _, called = sites
    del called[:]
    assert why(open_server.ask(shown(url)), 400) == "refused_url"
    assert set(called) <= {"93.184.216.34"}


def test_what_has_no_end_is_not_read_to_it(open_server: Up, sites: Any) -> None:
    site, _, _ = sites
    site.content = bytes(100_001)
    assert why(open_server.ask(shown("http://good.example/a")), 400) == "too_large"
    assert why(open_server.ask(shown("http://good.example/unsaid/a")), 400) == "too_large"
    began = time.monotonic()
    assert why(open_server.ask(shown("http://good.example/slow/a")), 400) == "unreachable_url"
    assert time.monotonic() - began < 15
    loop = f"http://good.example/to/{base64.urlsafe_b64encode(b'').decode()}"
    site.content = b"no video"
    assert why(open_server.ask(shown(loop)), 400) in ("unreachable_url", "unusable_media")


def test_slow_addresses_keep_nobody_waiting(open_server: Up, sites: Any, film: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(open_server.ask, shown("http://good.example/slow/a")) for _ in range(3)]
        assert open_server.ask(shown(data_url(film))).status_code == 200
        assert [one.result().status_code for one in slow] == [400] * 3
