"""The page put up beside the interface of a server, under `/page/`."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from vidapt.serving.app import House
from vidapt.serving.keys import Keys
from vidapt.serving.page.flags import Flags
from vidapt.serving.page.gate import STREAM, Gate, tab_of
from vidapt.serving.page.lines import Lines
from vidapt.serving.page.sessions import Sessions
from vidapt.serving.page.tabs import Tabs
from vidapt.serving.refused import RefusedError

MOUNT = "/page"

_IDLE_S = 0.02
"""How often the queue looks whether there is something to do; Gradio's own way is every millisecond."""


def installed() -> bool:
    """Whether what the page is made of is installed."""
    return importlib.util.find_spec("gradio") is not None


def put_up(
    app: FastAPI,
    house: House,
    keys: Keys,
    log: Callable[[str], None],
    host: str = "",
    flags: Flags | None = None,
) -> Gate:
    """Put the page up in an application.

    Args:
        app: Gets the page's paths.
        house: The models and the decoder.
        keys: Who may come; nobody who cannot say one, where there are any.
        log: Takes a line of JSON for everything that a model does.
        host: A name under which a server that wants no keys may be asked.
        flags: Where wrong answers are kept; None keeps none.

    Returns:
        What says who may come to the page; `Door` asks it.
    """
    # Before Gradio is imported, which else would tell its makers, and look for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # And not in a folder that all users of this machine share.
    os.environ["GRADIO_TEMP_DIR"] = str(house.folder)
    # Which Gradio imports in the midst of its first event, while nobody else is answered.
    import matplotlib.pyplot  # noqa: F401

    from vidapt.serving.page.asking import Asking
    from vidapt.serving.page.blocks import Page
    from vidapt.serving.page.rooms import Dressed, add_rooms

    sessions, tabs = Sessions(), Tabs(lambda who, name: _drop(house, who, name))
    add_rooms(app, house, keys, sessions, tabs)
    page = Page(Asking(house, flags, log), tabs, house.uploads)
    most = min(house.terms.clip.file_bytes, house.terms.body_bytes)

    async def made() -> tuple[Any, ASGIApp]:
        # Gradio makes locks, and event loops for them where none runs.
        blocks = page.made(most, keyed=bool(keys))
        return blocks, _application(blocks, house.terms.queue)

    blocks, inner = asyncio.run(made())
    lines = Lines(blocks, house.terms.queue)
    app.mount(MOUNT, Dressed(_Started(inner, blocks, lines)))
    return Gate(keys, house.terms, sessions, host, lines)


class _Started:
    """Stands before Gradio, whose queue begins to work with the first request, in that one's loop."""

    def __init__(self, app: ASGIApp, blocks: Any, lines: Lines) -> None:
        self._app, self._blocks, self._lines = app, blocks, lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self._blocks.is_running:
            self._blocks.run_startup_events()
        if scope["path"] != STREAM:
            await self._app(scope, receive, send)
            return
        tab = tab_of(scope)
        self._lines.listen(tab)
        try:
            await self._app(scope, receive, send)
        finally:
            self._lines.leave(tab)


def _application(blocks: Any, most: int) -> ASGIApp:
    """Gradio's application.

    Args:
        blocks: The page.
        most: Events that are answered at a time; models' own lines and limits hold behind it.
    """
    import gradio

    font, mono = ["ui-sans-serif", "system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    blocks.queue(max_size=most, default_concurrency_limit=None, api_open=False)
    queue = blocks._queue
    queue.max_thread_count = most
    queue.sleep_when_free = queue.progress_update_sleep_when_free = _IDLE_S
    queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize  # tables of all events, made anew with each
    shell = FastAPI()
    gradio.mount_gradio_app(
        shell,
        blocks,
        MOUNT,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=0,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gradio.themes.Base(font=font, font_mono=mono, primary_hue="blue"),
    )
    inner: ASGIApp = shell.routes[-1].app  # type: ignore[attr-defined]
    return inner


def _drop(house: House, who: str, name: str) -> None:
    with suppress(RefusedError):  # it is gone by itself after an hour
        house.uploads.drop(who, name)
