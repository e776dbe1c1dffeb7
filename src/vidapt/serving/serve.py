"""Models put up behind an address, until they are told to end: then what is under way is answered first."""

from __future__ import annotations

import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from vidapt.errors import ConfigError
from vidapt.serving.keys import Keys
from vidapt.serving.terms import Terms

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from vidapt.serving.app import House
    from vidapt.serving.door import Door
    from vidapt.serving.gauges import Gauges
    from vidapt.serving.page.flags import Flags
    from vidapt.serving.visits import Gate

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FAREWELL_S = 2
_HEAD_S = 10
_CONNECTIONS = 1024


@dataclass(frozen=True)
class Wanted:
    """What is put up.

    Attributes:
        models: Names or paths of models; `NAME=MODEL` says what clients call one.
        keys: Who may ask.
        terms: What is granted.
        host: Of which address of this machine.
        port: 0 takes any that is free.
        device: Where models run.
        dtype: Number format of their weights.
        bits: Of their language models.
        open_to_all: Whether others than this machine may ask without a key.
        page: Whether there is a page beside the interface, where what it is made of is installed.
        flags: Folder in which the page keeps wrong answers; None where it keeps none.
    """

    models: Sequence[str]
    keys: Keys = field(default_factory=Keys)
    terms: Terms = field(default_factory=Terms)
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "cpu"
    dtype: str | None = None
    bits: Any = None
    open_to_all: bool = False
    page: bool = True
    flags: Path | None = None


@dataclass(frozen=True)
class Up:
    """A server that is up.

    Attributes:
        url: Where clients find it; `base_url` of OpenAI's.
        models: What they may ask for.
        shared_bytes: Weights that several models hold together.
        page: Where a browser finds the page; empty where there is none.
        no_page: Why there is none, and how there would be one.
    """

    url: str
    models: tuple[str, ...]
    shared_bytes: int
    page: str = ""
    no_page: str = ""


def check_installed() -> None:
    """See that the server's libraries are there.

    Raises:
        ConfigError: Saying what to install.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError("serve", f"{error.name} is not installed", "pip install 'vidapt[serve]'") from None


def named(models: Sequence[str]) -> dict[str, str]:
    """Models by what clients call them.

    Raises:
        ConfigError: If two have one name.
    """
    found: dict[str, str] = {}
    for model in models:
        name, sign, path = model.partition("=")
        if not sign or Path(model).exists():
            path = model
            name = Path(model).resolve().name if Path(model).exists() else model
        if not name or not name.isprintable() or name in found:
            raise ConfigError("MODEL", f"{model!r} has the name of another one, or none", "write NAME=MODEL")
        found[name] = path
    return found


def serve(wanted: Wanted, ready: Callable[[Up], object], log: Callable[[str], None] | None = None) -> None:
    """Put models up, and keep them up until Ctrl-C or SIGTERM.

    Args:
        wanted: What is put up.
        ready: Called once clients may ask.
        log: Takes the lines of the log; None writes them to the error stream.

    Raises:
        VidaptError: If a model or the address cannot be used.
    """
    check_installed()
    from vidapt.serving.door import Door, to_stderr
    from vidapt.serving.gauges import Gauges

    models = tuple(named(wanted.models))
    if not wanted.keys and wanted.host not in _LOOPBACK and not wanted.open_to_all:
        told = f"{wanted.host} can be reached by others, and no keys are wanted"
        raise ConfigError("--host", told, "make keys (`vidapt serve-key NAME`), or say --no-keys")
    with ExitStack() as held:
        flags = held.enter_context(open_flags(wanted))
        line = held.enter_context(_listen(wanted.host, wanted.port))
        gauges = Gauges()
        house, shared = held.enter_context(open_house(wanted, gauges))
        from vidapt.serving.app import make_app

        app, log = make_app(house), log or to_stderr
        page = open_page(app, house, wanted, log, flags)
        door = Door(app, wanted.terms, wanted.keys, gauges, log, page)
        host, port = line.getsockname()[:2]
        server = make_server(door, wanted.terms.drain_s)
        url = f"http://{_shown(host)}:{port}"
        reason = "pip install 'vidapt[serve]'" if house.tables else "these models compare and do not answer"
        shown = ("", reason) if page is None else (f"{url}/page/", "")
        ready(Up(f"{url}/v1", models, shared, *shown))
        server.run(sockets=[line])


def open_page(
    app: FastAPI, house: House, wanted: Wanted, log: Callable[[str], None], flags: Flags | None = None
) -> Gate | None:
    """Put the page up beside the interface, if it is wanted and can be.

    Returns:
        Who may come to it; None where there is none.
    """
    from vidapt.serving.page.up import installed, put_up

    if not wanted.page or not house.tables or not installed():
        return None
    return put_up(app, house, wanted.keys, log, wanted.host, flags)


@contextmanager
def open_flags(wanted: Wanted) -> Iterator[Flags | None]:
    """Where the page keeps wrong answers; None where it keeps none.

    Raises:
        ConfigError: If there is no page to flag them on.
        VidaptError: If the folder cannot be used.
    """
    if wanted.flags is None:
        yield None
        return
    from vidapt.serving.page.flags import Flags
    from vidapt.serving.page.up import installed

    if not wanted.page or not installed():
        remedy = "leave out --no-page" if installed() else "pip install 'vidapt[serve]'"
        raise ConfigError("--flags", "there is no page on which answers could be flagged", remedy)
    with closing(Flags(wanted.flags)) as flags:
        yield flags


def make_server(door: Door, drain_s: float) -> uvicorn.Server:
    """A server that ends when those inside are served; told to a second time, at once."""
    import uvicorn

    from vidapt.serving.patience import Patient

    class Ending(uvicorn.Server):
        until = 0.0

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            del frame
            if door.draining:
                self.should_exit = True
                self.force_exit = sig == signal.SIGINT
            door.draining, self.until = True, time.monotonic() + drain_s

        async def on_tick(self, counter: int) -> bool:
            served = door.draining and (not door.busy or time.monotonic() > self.until)
            return served or await super().on_tick(counter)

    config = uvicorn.Config(door, log_level="critical", access_log=False, server_header=False, ws="none")
    config.http, config.lifespan, config.timeout_graceful_shutdown = Patient, "off", _FAREWELL_S
    config.timeout_keep_alive, config.limit_concurrency = _HEAD_S, _CONNECTIONS
    return Ending(config)


@contextmanager
def open_house(wanted: Wanted, gauges: Gauges) -> Iterator[tuple[House, int]]:
    """All that the application works with, and bytes of weights that are not held twice; closed behind.

    Raises:
        VidaptError: If a model cannot be used.
    """
    from vidapt.inference.load import load
    from vidapt.inference.matchers import DualMatcher, open_matcher
    from vidapt.loading import compares
    from vidapt.serving.app import House
    from vidapt.serving.fetch import Fetcher
    from vidapt.serving.media import Viewer
    from vidapt.serving.sharing import share_weights
    from vidapt.serving.table import Table
    from vidapt.serving.uploads import Uploads
    from vidapt.serving.vectors import Vectors

    terms, models = wanted.terms, named(wanted.models)
    with ExitStack() as held:
        dual = {name: path for name, path in models.items() if compares(path)}
        engines = {
            name: load(path, wanted.dtype, wanted.device, bits=wanted.bits)
            for name, path in models.items()
            if name not in dual
        }
        shared = share_weights(engine.model for engine in engines.values())
        vectors: dict[str, Vectors] = {}
        for name, path in dual.items():
            matcher = open_matcher(path, device=wanted.device)
            assert isinstance(matcher, DualMatcher)
            vectors[name] = Vectors(matcher)
            held.callback(vectors[name].close)
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vidapt-serve-")))
        uploads = Uploads(folder, terms)
        viewer = Viewer(terms, uploads, folder, Fetcher(terms.clip.file_bytes) if terms.allow_urls else None)
        held.callback(viewer.close)
        tables = {}
        for name, engine in engines.items():
            tables[name] = Table(engine, name, terms, gauges)
            held.callback(tables[name].close)
        yield House(tables, vectors, viewer, uploads, terms, gauges, time.time(), folder), shared


def _shown(host: str) -> str:
    """An address as a client on this machine has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        line = socket.create_server(kind[4][:2], family=kind[0], backlog=512)
    except OSError as error:
        told = f"{host}:{port} cannot be used ({error.strerror or error})"
        raise ConfigError("--port", told, "give another --port, or 0 for any that is free") from None
    with line:
        yield line
