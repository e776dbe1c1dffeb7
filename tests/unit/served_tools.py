"""A server in this process that speaks as vLLM and SGLang do, well or badly."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answering = Callable[[dict[str, Any]], Any]
"""Of a request a reply: what JSON holds, (status, that), (status, that, headers), bytes as they are, an
iterator of pieces of them, or None to hang up."""


@dataclass
class Fake:
    """A running server.

    Attributes:
        url: Its address.
        heard: Bodies of the questions it was asked.
        headers: Of all requests.
    """

    url: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def said(text: str, **more: Any) -> dict[str, Any]:
    """A reply with an answer."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}], **more}


def _body(request: BaseHTTPRequestHandler) -> dict[str, Any]:
    """What is asked.

    Raises:
        ConnectionError: If whoever asked was killed meanwhile.
    """
    size = int(request.headers["Content-Length"])
    sent = request.rfile.read(size)
    if len(sent) < size:
        raise ConnectionError
    return dict(json.loads(sent))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *where: Any) -> None:
        """Say nothing of who hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)


@contextmanager
def serving(answer: Answering, models: Any = ("tiny",), path: str = "/v1/chat/completions") -> Iterator[Fake]:
    """Serve until the block ends."""
    asked_at = path
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.headers.append(dict(self.headers))
            listed = {"data": [{"id": name} for name in models]} if isinstance(models, tuple) else models
            self._send(listed if self.path == "/v1/models" else (404, {}))

        def do_POST(self) -> None:
            body = _body(self)
            fake.headers.append(dict(self.headers))
            fake.heard.append(body)
            self._send(answer(body) if self.path == asked_at else (404, {}))

        def _send(self, reply: Any) -> None:
            if reply is None:
                self.close_connection = True
                return
            if isinstance(reply, Iterator):
                self.send_response(200)
                self.end_headers()
                with suppress(OSError):
                    for piece in reply:
                        self.wfile.write(piece)
                return
            status, found, *more = reply if isinstance(reply, tuple) else (200, reply)
            text = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:9/v1")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
