"""Opening whoever writes captions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.engines.protocol import CaptionEngine
from vidapt.captioning.places import Place, scratch
from vidapt.captioning.store.remote import folder_at
from vidapt.chat.remote import Remote, is_remote, read_remote
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.locks import TakenError

BUILTIN = "builtin"
REPLIES = Path("jobs", "replies")
"""Folder of a store in which answers of servers are kept."""

_Server = TypeVar("_Server")


def server_of(model: str, engine: str) -> Remote | None:
    """The server that is to write, as a file describes it, before anything is opened; None if there is none.

    Args:
        model: A model; or a file that describes a server, which is then shown frames.
        engine: `builtin`; or a file that describes a server, which is then sent embeddings.

    Raises:
        ConfigError: If there is no such file, it is wrong, or both are servers.
    """
    if engine == BUILTIN:
        return read_remote(Path(model)) if is_remote(model) else None
    if not is_remote(engine):
        raise ConfigError(
            "--engine",
            f"there is no {engine!r}",
            "give builtin, ray, or a YAML file that describes a server: docs/caption.md",
        )
    if is_remote(model):
        raise ConfigError("--engine", "the model is a server already", "leave it out")
    return read_remote(Path(engine))


def open_engine(
    model: str, server: Remote | None, out: Place, opened: Callable[[], Engine]
) -> CaptionEngine[Any]:
    """Whoever writes captions.

    Args:
        model: As `server_of` takes it.
        server: What that said.
        out: Folder or file of the captions, with which answers of a server are kept; in an object store
            none are shared, and they are kept on this machine.
        opened: Opens the model.

    Raises:
        ConfigError: If the server cannot be asked, or not about this model.
    """
    if server is None:
        return Builtin(opened())
    # The client and what it leans on are fetched only where a server is asked.
    if is_remote(model):
        from vidapt.captioning.engines.chat import ChatServer

        return _first_free(out, lambda replies: ChatServer(server, replies))
    from vidapt.captioning.engines.embeds import EmbedsServer

    engine = opened()
    return _first_free(out, lambda replies: EmbedsServer(engine, server, replies))


def _first_free(out: Place, make: Callable[[Path], _Server]) -> _Server:
    """One of several processes takes the first file of answers that no other has open."""
    folder = folder_at(out) / REPLIES if isinstance(out, Path) else scratch() / REPLIES.name / digest([out])
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        try:
            return make(folder / f"{number}.jsonl")
        except TakenError:
            continue
    raise AssertionError("numbers do not end")
