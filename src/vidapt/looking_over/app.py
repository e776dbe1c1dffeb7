"""The page's server: rows, clips, frames and decisions, and the few files that the page is made of."""

from __future__ import annotations

import asyncio
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse

from vidapt.errors import BrokenClip, ConfigError, VidaptError
from vidapt.looking_over.asking import Asker
from vidapt.looking_over.book import Book
from vidapt.looking_over.clips import PLAYED, Footage
from vidapt.looking_over.find import Filters, Finder
from vidapt.looking_over.freezing import Freezer
from vidapt.looking_over.index import Watched
from vidapt.looking_over.ledger import Ledger, OvertakenError
from vidapt.looking_over.pictures import BusyError, Pictures
from vidapt.looking_over.seen import Moments
from vidapt.looking_over.shapes import (
    MOST_ASKED,
    Brief,
    Clip,
    Decided,
    Frozen,
    Name,
    News,
    Question,
    Start,
    Told,
    Whole,
    Wish,
    brief,
    whole,
)
from vidapt.video import Times, Uniform

SIDES = (240, 960)
"""Longest sides of frames, in pixels: small ones for lists, large ones to look at."""

_PAGE = (
    "index.html",
    "icon.svg",
    "page.css",
    "main.js",
    "api.js",
    "list.js",
    "clip.js",
    "row.js",
    "dom.js",
    "beside.js",
    "freeze.js",
)
_KINDS = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_LONGEST_S = 12 * 3600.0


@dataclass(frozen=True)
class Desk:
    """What the page's server works with.

    Attributes:
        book: What is shown.
        ledger: Where decisions go.
        pictures: Where frames come from.
        moments: Which frames models saw.
        asker: The model that is asked.
        freezer: Freezes versions.
        watched: The files that are shown.
        versions: The folder for these.
        title: Of the page.
        by: Who decides.
        show: Which rows are shown first.
    """

    book: Book
    ledger: Ledger
    pictures: Pictures
    moments: Moments
    asker: Asker
    freezer: Freezer
    watched: Watched
    versions: Path
    title: str
    by: str = ""
    show: str = "all"


def make_app(desk: Desk) -> FastAPI:
    """The application, which `Guard` stands before."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    book, ledger = desk.book, desk.ledger
    finder = Finder(book, ledger)
    _serve_page(app)
    _serve_rows(app, desk, finder)
    _serve_clips(app, Footage(book), desk)
    _serve_work(app, desk)

    @app.get("/api/start")
    def start() -> Start:
        return Start(
            title=desk.title,
            file=str(ledger.path),
            rows=len(book),
            clips=len(book.clips),
            by=desk.by,
            notes=book.notes,
            facets=finder.facets(),
            standing=ledger.progress(),
            show=desk.show if desk.show != "disputed" or ledger.disputed else "all",
            models=[column.name for column in book.columns],
            asks=desk.asker.name,
            versions=str(desk.versions),
        )

    @app.exception_handler(RequestValidationError)
    def refused(_: object, error: RequestValidationError) -> Response:
        """Without what was sent, which may be large, and no text that JSON can hold."""
        return JSONResponse({"detail": [{"msg": one["msg"]} for one in error.errors()]}, 422)

    @app.exception_handler(VidaptError)
    def told(_: object, error: VidaptError) -> Response:
        return Response(str(error), 507, media_type="text/plain")

    @app.exception_handler(BusyError)
    def busy(_: object, error: BusyError) -> Response:
        return Response(str(error) or "too much is wanted at once", 503, media_type="text/plain")

    return app


def _serve_page(app: FastAPI) -> None:
    folder = importlib.resources.files("vidapt.looking_over") / "page"
    files = {name: (folder / name).read_bytes() for name in _PAGE}

    @app.get("/{name}")
    def page(name: str) -> Response:
        data = files.get(name)
        if data is None:
            raise HTTPException(404)
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/")
    def index() -> Response:
        return page("index.html")


def _serve_rows(app: FastAPI, desk: Desk, finder: Finder) -> None:
    book, ledger = desk.book, desk.ledger

    def known(row: int) -> int:
        if not 0 <= row < len(book):
            raise HTTPException(404, "no such row")
        return row

    @app.get("/api/find")
    def find(filters: Annotated[Filters, Query()]) -> Response:
        """Numbers of the rows, four bytes each, the lowest first."""
        rows = np.asarray(finder.rows(filters), "<u4")
        return Response(rows.tobytes(), media_type="application/octet-stream")

    @app.get("/api/rows")
    def rows(row: Annotated[list[int], Query(max_length=MOST_ASKED)]) -> list[Brief]:
        return [brief(known(one), book, ledger) for one in row]

    @app.get("/api/rows/{row}")
    def one_row(row: int) -> Whole:
        return whole(known(row), book, ledger)

    @app.get("/api/news")
    def news(after: int = 0) -> News:
        ledger.refresh()
        changes = [Decided.of(one) for one in ledger.after(after)]
        return News(changes=changes, standing=ledger.progress(), stale=desk.watched.changed)

    @app.post("/api/decide")
    def decide(wish: Wish) -> News:
        try:
            change = ledger.decide(known(wish.row), wish.verdict, wish.text, wish.reason, wish.seen)
        except OvertakenError:
            raise HTTPException(409, "somebody else decided this row meanwhile") from None
        except ConfigError as error:
            raise HTTPException(422, f"{error.found}. {error.remedy}".strip()) from None
        return News(changes=[Decided.of(change)], standing=ledger.progress())


def _serve_clips(app: FastAPI, clips: Footage, desk: Desk) -> None:
    @app.get("/api/clips/{number}")
    def one_clip(number: int) -> Clip:
        return clips.about(number)

    @app.get("/clips/{number}")
    @app.head("/clips/{number}")
    def footage(number: int) -> Response:
        """The file itself, if it is a video; any other file that a row names stays where it is."""
        if not clips.about(number).plays:
            raise HTTPException(404, "no video that a browser plays")
        path = clips.clip(number).path
        return FileResponse(path, media_type=PLAYED[path.suffix.lower()], stat_result=path.stat())

    @app.get("/frames/{number}")
    async def frame(number: int, at: float | None = None, large: bool = False) -> Response:
        """A frame as JPEG: the one shown `at` a second of the file, or one from the middle of the clip."""
        if at is not None and not 0 <= at <= _LONGEST_S:
            raise HTTPException(404, "no such moment")
        policy = Uniform(count=1) if at is None else Times(times=(round(at, 3),))
        waiting = await run_in_threadpool(desk.pictures.frame, clips.clip(number), policy, SIDES[large])
        try:
            data = await asyncio.shield(asyncio.wrap_future(waiting))
        except BrokenClip as error:
            raise HTTPException(404, error.reason) from None
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    @app.get("/api/clips/{number}/seen")
    async def seen(number: int, column: Annotated[int, Query(ge=0)]) -> list[float]:
        """Seconds of the file at which a model looked, found anew by its policy; none where nobody knows."""
        clips.clip(number)
        if column >= len(desk.book.columns):
            raise HTTPException(404, "no such model")
        waiting = await run_in_threadpool(desk.moments.of, number, column)
        try:
            return [] if waiting is None else await asyncio.shield(asyncio.wrap_future(waiting))
        except BrokenClip as error:
            raise HTTPException(404, error.reason) from None


def _serve_work(app: FastAPI, desk: Desk) -> None:
    freezing = Lock()

    @app.post("/api/ask")
    async def ask(question: Question) -> Told:
        """What the model says to a row's question now."""
        if not desk.asker.name:
            raise HTTPException(404, "no model is named: start again with --model")
        if question.row >= len(desk.book):
            raise HTTPException(404, "no such row")
        item = await run_in_threadpool(desk.book.items.__getitem__, question.row)
        waiting = desk.asker.ask(item.sample, blind=question.blind)
        try:
            return await asyncio.shield(asyncio.wrap_future(waiting))
        except BrokenClip as error:
            raise HTTPException(404, error.reason) from None

    @app.post("/api/freeze")
    def freeze(name: Name) -> Frozen:
        """Freeze all rows as they stand."""
        if not freezing.acquire(blocking=False):
            raise BusyError("a version is being frozen already")
        try:
            desk.ledger.refresh()
            out = desk.versions / name.name
            found = desk.freezer.freeze(out, lambda row, _: desk.ledger.decision(row))
        finally:
            freezing.release()
        return Frozen(
            folder=str(out.absolute()), version=found.version, rows=found.rows, left_out=found.left_out
        )
