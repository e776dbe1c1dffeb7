"""The page put up on this machine, until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from vidapt.cleaning.decisions import read_decisions
from vidapt.errors import ConfigError
from vidapt.files import check_file, exists
from vidapt.formats._home import home_of
from vidapt.progress import progress
from vidapt.reviewing.book import Book, Sources, open_book
from vidapt.reviewing.ledger import Ledger, Progress
from vidapt.reviewing.pictures import Pictures

TITLE = "Labels to look over"
_FAREWELL_S = 1


@dataclass(frozen=True)
class Address:
    """Where the page is put up.

    Attributes:
        host: Of which address of this machine; the default is seen from this machine alone.
        port: 0 takes any that is free.
    """

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True)
class Opened:
    """A page that is up.

    Attributes:
        url: To be opened in a browser; whoever has it may decide.
        book: What is shown.
        ledger: Where decisions go.
    """

    url: str
    book: Book
    ledger: Ledger


def check_installed() -> None:
    """See that the server's libraries are there.

    Raises:
        ConfigError: Saying what to install.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError("review", f"{error.name} is not installed", "pip install 'vidapt[page]'") from None


def decisions_beside(labels: list[str]) -> Path:
    """Where decisions about a label file go if nobody says.

    Raises:
        ConfigError: If there are several label files.
    """
    if len(labels) != 1 or Path(labels[0]).is_dir():
        raise ConfigError("--decisions", "several files are looked over", "name the file for decisions")
    path = Path(labels[0])
    return path.with_name(f"{path.name.partition('.')[0]}.decisions.jsonl")


def review(
    sources: Sources, decisions: Path, by: str, address: Address, ready: Callable[[Opened], None]
) -> Progress:
    """Put the page up, and keep it up until Ctrl-C or SIGTERM.

    Args:
        sources: What is looked over.
        decisions: The file that decisions are added to.
        by: Who decides.
        address: Where.
        ready: Called once browsers may ask.

    Returns:
        How far the work is.

    Raises:
        VidaptError: If a file or the address cannot be used.
    """
    check_installed()
    import uvicorn

    from vidapt.reviewing.app import make_app
    from vidapt.reviewing.guard import Guard

    with ExitStack() as held:
        door = held.enter_context(_listen(address))
        check_file(decisions)
        if exists(decisions):
            read_decisions(decisions, cut_off=True)  # what is no such file is told before labels are read
        with progress() as report:
            book = open_book(sources, report)
        ledger = Ledger(decisions, book.items, by)
        held.callback(ledger.close)
        if ledger.strangers:
            book.notes.append(
                f"{ledger.strangers} decisions are about rows that are not there, or say something else"
            )
        pictures = Pictures(home_of(decisions) / "frames")
        held.callback(pictures.close)
        token = secrets.token_urlsafe(24)
        app = Guard(make_app(book, ledger, pictures, TITLE, by), token, address.host)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        config.lifespan, config.timeout_graceful_shutdown = "off", _FAREWELL_S
        host, port = door.getsockname()[:2]
        ready(Opened(f"http://{_shown(host)}:{port}/{token}/", book, ledger))
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[door])
        return ledger.progress()


def _shown(host: str) -> str:
    """An address as a browser on this machine has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _listen(address: Address) -> socket.socket:
    try:
        kind = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(kind[4][:2], family=kind[0])
    except OSError as error:
        told = f"{address.host}:{address.port} cannot be used ({error.strerror or error})"
        raise ConfigError("--port", told, "give another --port, or 0 for any that is free") from None
