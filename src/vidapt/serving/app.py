"""The application: paths of OpenAI's interface, and those of whoever runs the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from vidapt.errors import nearest
from vidapt.models.decoding import Decoding
from vidapt.serving.door import GoneError
from vidapt.serving.gauges import Gauges
from vidapt.serving.media import Viewer
from vidapt.serving.refused import RefusedError, wrong
from vidapt.serving.replies import Question, reply
from vidapt.serving.shapes import AnyJson, Asked, Compared, Refusal, SchemaJson, TextPart
from vidapt.serving.table import Said, Table
from vidapt.serving.talk import completion, events, most_tokens, read_talk
from vidapt.serving.terms import MOST_LETTERS, MOST_MEDIA, Terms
from vidapt.serving.uploads import Uploads, sent_file
from vidapt.serving.vectors import Vectors, listed
from vidapt.serving.visits import Visit
from vidapt.version import VERSION

_T = TypeVar("_T")
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string"},
                },
            }
        }
    },
}


@dataclass(frozen=True)
class House:
    """What the application works with.

    Attributes:
        tables: Models that answer, by name.
        vectors: Models that compare, by name.
        viewer: Decodes clips.
        uploads: Keeps files.
        terms: What is granted.
        gauges: The server's numbers.
        since: When models were opened, in seconds since 1970.
        folder: Goes with the server, with all that lies in it.
    """

    tables: Mapping[str, Table]
    vectors: Mapping[str, Vectors]
    viewer: Viewer
    uploads: Uploads
    terms: Terms
    gauges: Gauges
    since: float
    folder: Path


def make_app(house: House) -> FastAPI:
    """The application, which `Door` stands before."""
    refusals: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refusal}, "5XX": {"model": Refusal}}
    app = FastAPI(title="vidapt serve", version=VERSION, docs_url=None, redoc_url=None, responses=refusals)
    app.state.models = {"Asked": list(house.tables), "Compared": list(house.vectors)}
    app.openapi = partial(_described, app, app.openapi)  # type: ignore[method-assign]
    _serve_errors(app)
    _serve_state(app, house)
    _serve_files(app, house)

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """Names of the models."""
        return {"object": "list", "data": [_told_model(house, name) for name in _names(house)]}

    @app.get("/v1/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        """One model."""
        if name not in _names(house):
            raise _unknown(name, _names(house))
        return _told_model(house, name)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(asked: Asked, request: Request) -> Response:
        """Go on with a conversation."""
        return await _chat(house, asked, request)

    @app.post("/v1/embeddings", response_model=None)
    async def embeddings(asked: Compared, request: Request) -> Response:
        """Vectors of texts and clips."""
        return await _embed(house, asked, request)

    return app


def _described(app: FastAPI, plain: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The interface's description, with the names of the models."""
    found = plain()
    for shape, names in app.state.models.items():
        if names:
            found["components"]["schemas"][shape]["properties"]["model"]["enum"] = names
    return found


def _names(house: House) -> list[str]:
    return [*house.tables, *house.vectors]


def _told_model(house: House, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(house.since), "owned_by": "vidapt"}


def _unknown(name: str, known: list[str]) -> RefusedError:
    return RefusedError(404, "model_not_found", f"no such model: {nearest(name, known)}", "model")


async def _chat(house: House, asked: Asked, request: Request) -> Response:
    if asked.model not in house.tables:
        if asked.model in house.vectors:
            raise wrong("this model compares and does not answer: ask /v1/embeddings", "model")
        raise _unknown(asked.model, list(house.tables))
    table, talk, visit = house.tables[asked.model], read_talk(asked.messages), _visit(request)
    visit.told |= {"model": asked.model, "media": len(talk.media)}
    until = time.monotonic() + house.terms.timeout_s
    seed = asked.seed if asked.seed is not None else time.time_ns() if asked.temperature else 0
    decoding = Decoding(
        most_tokens(asked, house.terms.most_tokens), asked.temperature or 0.0, asked.top_p or 1.0, seed
    )
    structured = asked.response_format if isinstance(asked.response_format, AnyJson | SchemaJson) else None
    question = Question(talk, visit.who, decoding, until, structured)
    coming = reply(house.viewer, table, question, stream=bool(asked.stream))
    first = await _while_there(request, anext(coming))
    if asked.stream:
        count = asked.stream_options is not None and asked.stream_options.include_usage
        told = events(asked.model, _with(first, coming), visit, count=count)
        return StreamingResponse(told, media_type="text/event-stream")
    said = await anext(coming)
    await coming.aclose()
    assert isinstance(said, Said)
    visit.told |= {"read": said.read, "written": said.written}
    return JSONResponse(completion(asked.model, said, visit.id, int(time.time())))


async def _with(
    first: str | Said, others: AsyncGenerator[str | Said, None]
) -> AsyncGenerator[str | Said, None]:
    async with aclosing(others):
        yield first
        async for one in others:
            yield one


async def _while_there(request: Request, work: Awaitable[_T]) -> _T:
    """Do something for as long as whoever asked for it is there.

    Raises:
        GoneError: If it is not.
    """
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise GoneError
        return task.result()
    finally:
        for one in (task, left):
            one.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _visit(request: Request) -> Visit:
    found = request.scope["visit"]
    assert isinstance(found, Visit)
    return found


async def _embed(house: House, asked: Compared, request: Request) -> Response:
    if asked.model not in house.vectors:
        if asked.model in house.tables:
            raise wrong("this model answers and does not compare: ask /v1/chat/completions", "model")
        raise _unknown(asked.model, list(house.vectors))
    vectors, visit = house.vectors[asked.model], _visit(request)
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = [one.text if isinstance(one, TextPart) else one for one in given]
    media = [one for one in texts if not isinstance(one, str)]
    if len(media) > MOST_MEDIA:
        raise wrong(f"there are {MOST_MEDIA} clips and pictures in a request at most", "input")
    if sum(len(one) for one in texts if isinstance(one, str)) > MOST_LETTERS:
        raise wrong(f"there are {MOST_LETTERS} letters in a request at most", "input", "too_long")
    if any(isinstance(one, str) and not one.strip() for one in texts):
        raise wrong("a text is empty", "input")
    visit.told |= {"model": asked.model, "media": len(media)}

    async def work() -> tuple[list[Any], int]:
        async with house.viewer.looking(media, visit.who, vectors.sight) as clips:
            decoded = iter(clips)
            return await vectors.of([one if isinstance(one, str) else next(decoded) for one in texts])

    try:
        async with asyncio.timeout(house.terms.timeout_s):
            found, tokens = await _while_there(request, work())
    except TimeoutError:
        raise RefusedError(504, "timeout", "there was no answer in time") from None
    visit.told["read"] = tokens
    return JSONResponse(listed(asked.model, found, tokens, packed=asked.encoding_format == "base64"))


def _serve_state(app: FastAPI, house: House) -> None:
    gauges = house.gauges

    def waiting() -> float:
        return sum(table.waiting for table in house.tables.values())

    gauges.watch("vidapt_waiting", "Questions in line.", waiting)

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the server lives."""
        return {"status": "ok"}

    @app.get("/ready", response_model=None)
    def ready(request: Request) -> Response:
        """Whether it may be asked: not while it ends."""
        ending = request.scope["ending"]
        return JSONResponse({"status": "ending" if ending else "ready"}, 503 if ending else 200)

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        """The server's numbers, for Prometheus."""
        return PlainTextResponse(gauges.text(), media_type="text/plain; version=0.0.4")


def _serve_files(app: FastAPI, house: House) -> None:
    uploads = house.uploads

    @app.post("/v1/files", openapi_extra={"requestBody": _FORM})
    async def keep(request: Request) -> dict[str, object]:
        """Keep a clip or picture for a while, to be asked about by its id."""
        content = sent_file(request.headers.get("content-type", ""), await request.body())
        if len(content) > house.terms.clip.file_bytes:
            raise RefusedError(413, "too_large", "the file is too large", "file")
        kept = await run_in_threadpool(uploads.keep, _visit(request).who, content)
        return kept.body

    @app.get("/v1/files")
    def files(request: Request) -> dict[str, Any]:
        """What this key has uploaded."""
        found = [one.body for one in uploads.all_of(_visit(request).who)]
        return {"object": "list", "data": found, "has_more": False}

    @app.get("/v1/files/{name}")
    def file(name: str, request: Request) -> dict[str, object]:
        """One file."""
        return uploads.find(_visit(request).who, name).body

    @app.delete("/v1/files/{name}")
    def drop(name: str, request: Request) -> dict[str, object]:
        """Forget a file."""
        uploads.drop(_visit(request).who, name)
        return {"id": name, "object": "file", "deleted": True}


def _serve_errors(app: FastAPI) -> None:
    @app.exception_handler(GoneError)
    def gone(_: object, __: GoneError) -> Response:
        return Response(status_code=499)  # which nobody hears

    @app.exception_handler(RefusedError)
    def refused(request: Request, error: RefusedError) -> Response:
        if error.fault:
            _visit(request).told["fault"] = error.fault
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(Exception)
    def fault(_: object, __: Exception) -> Response:
        """Of this server; `Door` notes which."""
        found = RefusedError(500, "fault", "the server is at fault")
        return JSONResponse(found.body, found.status)

    @app.exception_handler(RequestValidationError)
    def invalid(_: object, error: RequestValidationError) -> Response:
        """The first thing that is wrong, without what was sent, which JSON may not be able to hold."""
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")[:200]
        found = wrong(f"{place or 'the request'}: {first['msg'][:300]}", place or None)
        return JSONResponse(found.body, found.status)

    @app.exception_handler(HTTPException)
    def told(_: object, error: HTTPException) -> Response:
        found = RefusedError(error.status_code, "http_error", str(error.detail))
        return JSONResponse(found.body, found.status, dict(error.headers or {}))
