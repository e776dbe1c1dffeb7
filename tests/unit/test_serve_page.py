"""The page of a server is let in to as its interface is, and has no path that it does not need."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_page_tools import DATA, JOIN, Visitor
from serve_tools import KEY, OTHER, Up, eventually, film_in, up

from vidapt.models.attention_maps import walk
from vidapt.serving.keys import Keys
from vidapt.serving.table import Errand, Table
from vidapt.serving.terms import Terms

pytest.importorskip("gradio", reason="the page is made of it")
BODY = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    terms = Terms(workers=1, body_bytes=BODY, bodies_bytes=3 * BODY)
    with up(terms, page=True, flags=tmp_path_factory.mktemp("flags")) as found:
        yield found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film_in(tmp_path_factory.mktemp("serve")).read_bytes()


@pytest.fixture
def stranger(served: Up) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.web.base_url, timeout=30) as web:
        yield web


@pytest.fixture
def ann(served: Up, stranger: httpx2.Client) -> Visitor:
    return Visitor(served, stranger).enter()


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_the_page_asks_for_a_key_and_gives_a_cookie_that_no_script_and_no_other_site_has(
    stranger: httpx2.Client,
) -> None:
    first = stranger.get("/page", follow_redirects=True)
    assert "Your key for this server" in first.text
    assert "gradio" not in first.text
    assert "default-src 'none'" in first.headers["content-security-policy"]
    for wrong in ("", "sk-test-guessed", KEY + "x", "a" * 4000):
        refused = stranger.post("/page/login", data={"key": wrong})
        assert refused.status_code == 401
        assert "does not know that key" in refused.text
        assert "set-cookie" not in refused.headers
    assert stranger.post("/page/login", data={"key": "a" * 5000}).status_code == 413
    let_in = stranger.post("/page/login", data={"key": KEY})
    assert let_in.status_code == 303
    cookie = let_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/page"} <= set(cookie.split("; "))
    assert KEY not in cookie
    assert "Secure" not in cookie
    over_tls = stranger.post("/page/login", data={"key": KEY}, headers={"x-forwarded-proto": "https"})
    assert "; Secure" in over_tls.headers["set-cookie"]
    stranger.cookies.clear()
    stranger.headers["cookie"] = cookie.partition(";")[0]
    assert "gradio_config" in stranger.get("/page/").text
    assert code(stranger.get("/v1/models")) == (401, "invalid_api_key")
    left = stranger.post("/page/logout")
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert "Your key for this server" in stranger.get("/page/").text
    assert code(stranger.post(JOIN, json={})) == (401, "no_session")


def test_scripts_on_the_page_are_its_own_and_it_names_no_other_host(ann: Visitor) -> None:
    page = ann.web.get("/page/")
    policy = page.headers["content-security-policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert len(nonce) > 20
    assert nonce not in ann.web.get("/page/").text
    assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}"') + page.text.count(
        '<script src="own/page.js"'
    )
    assert "unsafe-inline' 'unsafe-eval" not in policy
    outside = page.text.replace(str(ann.served.web.base_url).rstrip("/"), "")
    assert "https://" not in outside
    assert "cdn" not in outside.lower()
    assert page.headers["cache-control"] == "no-store"


CLOSED = [
    "gradio_api/file=/etc/passwd",
    "gradio_api/file=https://example.org/",
    "gradio_api/file/etc/passwd",
    "gradio_api/proxy=https://example.org/",
    "gradio_api/info",
    "gradio_api/heartbeat/abc",
    "gradio_api/startup-events",
    "gradio_api/runs",
    "gradio_api/deep_link?session_hash=a",
    "config",
    "login_check",
    "monitoring",
    "manifest.json",
    "custom_component/a/b/c/d",
    "svelte/x",
    "own/login.html",
    "own/..%2f..%2fup.py",
    "assets/..%2fconfig",
    "assets/../config",
    "gradio_api/queue/data/",
]


@pytest.mark.parametrize("path", CLOSED)
def test_what_the_page_does_not_need_is_closed(ann: Visitor, path: str) -> None:
    assert ann.web.get(f"/page/{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["upload", "run/predict", "api/predict", "call/asks", "component_server", "cancel", "reset"]
)
def test_nothing_is_sent_but_events_and_clips(ann: Visitor, path: str) -> None:
    answer = ann.web.post(f"/page/gradio_api/{path}", json={"data": []})
    assert code(answer) == (404, "no_such_path")
    assert code(ann.web.get(JOIN)) == (405, "no_such_method")


@pytest.mark.parametrize(
    "head",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_may_not_ask_even_with_the_cookie(ann: Visitor, head: dict[str, str]) -> None:
    for path in (JOIN, "/page/clip", "/page/login", "/page/logout"):
        assert code(ann.web.post(path, content=b"{}", headers=head)) == (403, "other_site")
    assert ann.web.get("/page/", headers=head | {"sec-fetch-mode": "cors"}).status_code == 403


def test_events_hold_words_alone_so_that_nothing_is_fetched_for_them(ann: Visitor) -> None:
    number = ann.event("Ask", "click")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        file = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}
        for data in ([file], [[file]], [{"a": file}], [["text"]], [], ["a"] * 2, [3], ["a" * 200_000]):
            assert ann.join(number, data).status_code == 400
        for more in ({"session_hash": "../x"}, {"fn_index": -1}, {"fn_index": 999}, {"trigger_id": -1}):
            assert ann.join(number, ["a"], **more).status_code == 400
        assert (
            ann.join(number, ["ok"], event_data=file, oauth_token="x", simple_format=True).status_code == 200
        )
        assert ann.hear()[-1]["msg"] == "close_stream"
        trap.settimeout(0.2)
        with pytest.raises(TimeoutError):
            trap.accept()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
MORE = st.dictionaries(st.text(max_size=9), JSON, max_size=2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=JSON, number=st.integers(-1, 12) | JSON, more=st.dictionaries(st.text(max_size=9), JSON, max_size=2)
)
def test_whatever_is_told_is_no_fault_of_the_server(
    served: Up, ann: Visitor, data: Any, number: Any, more: dict[str, Any]
) -> None:
    body = json.dumps({"session_hash": "fuzzed", "fn_index": number, "data": data} | more)
    for content in (body, body[: len(body) // 2]):
        answer = ann.web.post(JOIN, content=content.encode(), headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400, 403, 429), answer.text
    login = ann.web.post("/page/login", content=content.encode("utf-16"))
    assert login.status_code == 401
    assert not any("fault" in line for line in served.log)


def test_nobody_hears_what_another_browser_asks(served: Up, ann: Visitor) -> None:
    assert ann.join(ann.event("Ask", "click"), ["who hears?"]).status_code == 200
    with httpx2.Client(base_url=served.web.base_url) as web:
        bob = Visitor(served, web, tab=ann.tab).enter(OTHER)
        assert code(web.get(DATA, params={"session_hash": ann.tab})) == (404, "no_such_tab")
        assert code(bob.join(bob.event("Ask", "click"), ["me"])) == (403, "other_session")
    assert code(ann.web.get(DATA)) == (404, "no_such_tab")
    assert "drop a clip first" in json.dumps(ann.hear())


def test_what_nobody_hears_is_not_held_for_ever(
    served: Up, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = ann.event("Ask", "click")
    answers = [ann.join(number, ["who hears?"]) for _ in range(9)]
    assert [one.status_code for one in answers] == [200] * 8 + [429]
    other = Visitor(served, ann.web, config=ann.config)
    assert eventually(lambda: not served.door.busy)
    page: Any = served.door._page
    queue = page._lines._queue
    assert ann.tab in queue.pending_messages_per_session
    monkeypatch.setattr("vidapt.serving.page.lines._UNHEARD_S", -1.0)
    assert "drop a clip first" in json.dumps(other.do("Ask", "click", "me"))
    assert ann.tab not in queue.pending_messages_per_session
    assert ann.tab not in queue.pending_event_ids_session
    assert ann.join(number, ["and now?"]).status_code == 200
    assert "drop a clip first" in json.dumps(ann.hear())


def test_a_clip_is_charged_as_every_body_is(served: Up, ann: Visitor, film: bytes) -> None:
    def halves() -> Iterator[bytes]:
        yield from [bytes(BODY // 2 + 1)] * 2

    assert code(ann.web.post("/page/clip", content=bytes(BODY + 1))) == (413, "too_large")
    assert code(ann.web.post("/page/clip", content=halves())) == (413, "too_large")
    assert code(ann.web.post("/page/clip", content=b"")) == (400, "invalid_value")
    commas = ann.web.post("/page/clip", content=b"," * 200_000)  # which a film is full of
    assert commas.status_code == 200
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        head = f"POST /page/clip HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {_cookie(ann)}\r\n"
        line.sendall(f"{head}content-length: {BODY}\r\n\r\nsome".encode())
        assert eventually(lambda: served.door.inside == 1)
        assert served.door._bodies.held == BODY
    assert eventually(lambda: served.door.inside == 0 and served.door._bodies.held == 0)
    sent = ann.web.post("/page/clip", content=film)
    assert sent.json().keys() == {"id"}
    assert code(served.get(f"/v1/files/{sent.json()['id']}", OTHER)) == (404, "no_such_file")


def _cookie(visitor: Visitor) -> str:
    return "; ".join(f"{name}={value}" for name, value in visitor.web.cookies.items())


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"no film at all", "the clip cannot be used"), (b"#EXTM3U\nhttp://a/b", "cannot be used")],
)
def test_what_is_no_clip_is_told_where_its_frames_would_be(ann: Visitor, content: bytes, told: str) -> None:
    seen, *_ = ann.show(content)
    assert told in seen
    assert "/tmp" not in seen
    asked = ann.do("Ask", "click", "what is there?")
    assert told in asked[1]


def test_a_conversation_is_asked_in_the_line_of_all_questions(served: Up, ann: Visitor, film: bytes) -> None:
    seen, talks, *_ = ann.show(film, "home")
    assert 1 < seen.count("<img") <= 12
    assert "0.00 s" in seen
    assert "Ask about the clip" in talks
    first = ann.do("Ask", "click", "how many balls are there?")[1]
    both = ann.do("Question", "submit", "and which ball moves?")[1]
    assert both.startswith(first.removesuffix("</div></section></div>"))
    api = served.ask("how many?")
    assert api.status_code == 200
    log = [json.loads(line) for line in served.log]
    answers = [one for one in log if one["path"] == "/page/answer"]
    assert [(one["status"], one["key"], one["model"]) for one in answers[-2:]] == [(200, "ann", "home")] * 2
    assert answers[-1]["read"] > answers[-2]["read"] > 10
    ann.do("Describe the clip", "click")
    ann.do("Ask", "click", "and then?")
    *_, caption, last = (json.loads(line) for line in served.log if "/page/answer" in line)
    assert caption["read"] < answers[-1]["read"] < last["read"]
    ann.do("Start anew", "click")
    ann.do("Ask", "click", "and then?")
    assert (
        json.loads([line for line in served.log if "/page/answer" in line][-1])["read"] < caption["read"] + 9
    )
    assert not any("balls" in line for line in served.log)
    assert 'path="/page/answer",status="200"' in served.get("/metrics").text


@contextmanager
def held(table: Table) -> Iterator[None]:
    """A model that does nothing else for as long as the block lasts."""
    began, go = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        began.set()
        go.wait(40)

    table.ask(Errand(wait, time.monotonic() + 60))
    assert began.wait(20)
    try:
        yield
    finally:
        go.set()


def test_a_question_that_no_stream_waits_for_is_answered_before_the_server_ends(film: bytes) -> None:
    with up(page=True) as served, httpx2.Client(base_url=served.web.base_url, timeout=30) as web:
        ann = Visitor(served, web).enter()
        ann.show(film)
        with held(served.house.tables["home"]):
            assert ann.join(ann.event("Ask", "click"), ["what happens?"]).status_code == 200
            assert eventually(lambda: served.house.tables["home"].waiting == 1)
            assert not served.door.inside
            served.server.handle_exit(signal.SIGTERM, None)
            time.sleep(0.5)
            assert code(web.post("/page/clip", content=film)) == (503, "ending")
        assert "said" in json.dumps(ann.hear())
        assert eventually(lambda: _refuses(served.port))


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_who_leaves_is_dropped_from_the_line(served: Up, ann: Visitor, film: bytes) -> None:
    ann.show(film)
    table = served.house.tables["home"]
    with held(table):
        ann.join(ann.event("Ask", "click"), ["what happens?"])
        with ann.web.stream("GET", DATA, params={"session_hash": ann.tab}):
            assert eventually(lambda: served.door.inside == 1)
            assert eventually(lambda: table.waiting == 1)
            (job,) = table._waiting
        assert eventually(lambda: job.dropped, 30)
        assert eventually(lambda: served.door.inside == 0)
    assert eventually(lambda: not served.door.busy)
    again = ann.do("Ask", "click", "and now?")[1]
    assert again.count("asked") == 2


def test_a_model_that_has_no_map_or_fails_says_so_and_answers_on(
    served: Up, ann: Visitor, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a secret of the model")

    def none(*_: Any) -> Any:
        walk(object(), torch.zeros(1))

    ann.show(film)
    looked, _ = ann.do("Where does it look?", "click")
    assert looked.count("<img") > 0
    assert "noise: entropy" in looked
    monkeypatch.setattr("vidapt.serving.page.asking.look_at_frames", none)
    looked, _ = ann.do("Where does it look?", "click")
    assert "home shows no place it looks at" in looked
    assert "cannot be shown" in looked
    monkeypatch.setattr("vidapt.serving.page.asking.look_at_frames", fail)
    looked, _ = ann.do("Where does it look?", "click")
    assert "the model failed" in looked
    assert "secret" not in looked + "".join(served.log)
    assert any('"fault": "RuntimeError at ' in line for line in served.log)
    assert "said" in ann.do("Describe the clip", "click")[1]


def test_a_server_without_keys_is_asked_under_no_strange_name(film: bytes) -> None:
    with (
        up(page=True, keys=Keys()) as served,
        httpx2.Client(base_url=served.web.base_url, timeout=30) as web,
    ):
        rebound = web.get("/page/", headers={"host": "evil.example"})
        assert code(rebound) == (403, "unknown_host")
        page = web.get("/page/")
        assert "HttpOnly" in page.headers["set-cookie"]
        visitor = Visitor(served, web).enter()
        seen, *_ = visitor.show(film)
        assert "<img" in seen
        picked = visitor.do("picked", "change", "0-0 1")
        assert "--flags FOLDER" in picked[-1]
        assert served.web.post("/v1/files", headers={"origin": str(web.base_url)}).status_code == 403


def test_a_server_without_the_page_has_no_such_path(served: Up) -> None:
    with up() as plain:
        for path in ("/page", "/page/", "/page/login", JOIN):
            assert code(plain.web.get(path)) == (401, "invalid_api_key")
            assert plain.get(path).status_code == 404
