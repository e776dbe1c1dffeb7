"""The page put up on this machine, until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidapt.decisions import read_decisions
from vidapt.errors import ConfigError
from vidapt.files import check_file, exists
from vidapt.formats._home import home_of
from vidapt.loading import locate
from vidapt.looking_over.asking import Asker
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.freezing import Freezer
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.index import Watched
from vidapt.looking_over.ledger import Ledger, Progress
from vidapt.looking_over.pictures import Pictures
from vidapt.looking_over.seen import Moments
from vidapt.progress import progress

if TYPE_CHECKING:
    from vidapt.looking_over.app import Desk

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


HERE = Address()


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
        raise ConfigError(
            "look-over", f"{error.name} is not installed", "pip install 'vidapt[page]'"
        ) from None


def decisions_beside(labels: Sequence[str | Path]) -> Path:
    """Where decisions about labels go if nobody says.

    Raises:
        ConfigError: If there are several label files that are not in one folder's name.
    """
    if len(labels) != 1:
        raise ConfigError("--decisions", "several files are looked over", "name the file for decisions")
    path = Path(labels[0])
    if path.is_dir() or any(sign in path.name for sign in "*?["):
        return path.absolute().with_name(f"{path.absolute().name.strip('*?[].') or 'labels'}.decisions.jsonl")
    return path.with_name(f"{path.name.partition('.')[0]}.decisions.jsonl")


@dataclass(frozen=True)
class Wanted:
    """What is put up.

    Attributes:
        sources: What is looked over.
        decisions: The file that decisions are added to.
        by: Who decides.
        title: Of the page.
        show: Which rows are shown first; see `find.Filters`.
        model: Is asked on the page; empty for none.
        device: Where it runs.
        versions: The folder for frozen versions; None is `versions` beside the decisions.
        address: Where the page is put up.
    """

    sources: Sources
    decisions: Path
    by: str = ""
    title: str = TITLE
    show: str = "all"
    model: str = ""
    device: str = "cpu"
    versions: Path | None = None
    address: Address = HERE


def look_over(wanted: Wanted, ready: Callable[[Opened], None]) -> Progress:
    """Put the page up, and keep it up until Ctrl-C or SIGTERM.

    Args:
        wanted: What is put up.
        ready: Called once browsers may ask.

    Returns:
        How far the work is.

    Raises:
        VidaptError: If a file, the model or the address cannot be used.
    """
    check_installed()
    import uvicorn

    from vidapt.looking_over.app import make_app
    from vidapt.looking_over.guard import Guard

    address = wanted.address
    with ExitStack() as held:
        door = held.enter_context(_listen(address))
        check_file(wanted.decisions)
        if exists(wanted.decisions):  # what is no such file is told before labels are read
            read_decisions(wanted.decisions, cut_off=True)
        if wanted.model:
            locate(wanted.model)
        with progress() as report:
            book = open_book(wanted.sources, report)
        if not len(book):
            raise ConfigError(
                " ".join(map(str, wanted.sources.labels)),
                "; ".join(["holds nothing to look over", *book.notes]),
                "give labels, captions or a folder of clips",
            )
        desk = held.enter_context(_desk(wanted, book))
        token = secrets.token_urlsafe(24)
        app = Guard(make_app(desk), token, address.host)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        config.lifespan, config.timeout_graceful_shutdown = "off", _FAREWELL_S
        host, port = door.getsockname()[:2]
        ready(Opened(f"http://{_shown(host)}:{port}/{token}/", book, desk.ledger))
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[door])
        return desk.ledger.progress()


@contextmanager
def _desk(wanted: Wanted, book: Book) -> Iterator[Desk]:
    """All that the server works with; closed behind."""
    from vidapt.looking_over.app import Desk

    with ExitStack() as held:
        ledger = Ledger(wanted.decisions, book, wanted.by)
        held.callback(ledger.close)
        if ledger.strangers:
            book.notes.append(
                f"{ledger.strangers} decisions are about rows that are not there, or say something else"
            )
        pictures = held.enter_context(closing(Pictures(home_of(wanted.decisions) / "frames")))
        moments = held.enter_context(closing(Moments(book)))
        asker = held.enter_context(closing(Asker(wanted.model, wanted.device)))
        versions = wanted.versions or wanted.decisions.absolute().parent / "versions"
        freezer = Freezer(wanted.sources, book, wanted.decisions)
        yield Desk(
            book,
            ledger,
            pictures,
            moments,
            asker,
            freezer,
            Watched(wanted.sources),
            versions,
            wanted.title,
            wanted.by,
            wanted.show,
        )


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
