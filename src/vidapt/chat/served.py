"""A model behind a server with the interface of OpenAI's chat completions, which is not trusted."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import importlib
import json
import math
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any

from vidapt.addresses import key_from, without
from vidapt.chat.asked import Asked, Bound, Failed, Limits, Refused, Said, Unusable, seconds
from vidapt.chat.settings import Endpoint
from vidapt.errors import ConfigError, readable

MOST_BYTES = 8 * 1024**2
"""Longest reply that is read."""

_CONNECT_S = 10.0
"""Longest wait until somebody is there."""

_TOLD = 300
_PATCH = 14
_AROUND, _PER_PICTURE = 64, 24
"""Tokens of a request's frame, and of the mark and the time in front of each picture, at most."""

_REFUSALS = ("content_filter", "content_policy", "data_inspection", "safety", "moderation", "responsibleai")
_NO_PICTURES = (
    "image_url is only supported",
    "unknown variant `image_url`",
    "at most 0 image",
    "image input is not supported",
    "not support image",
    "not support vision",
    "is not a multimodal model",
    "required for image input",
)
"""How servers (OpenAI, DeepSeek, vLLM, llama.cpp, Ollama) say that a model reads text alone."""
_TOO_MANY = re.compile(r"at most [1-9]\d* image")
_NO_MONEY = ("insufficient_quota", "billing", "arrearage", "insufficient balance")


class Served:
    """A server.

    Args:
        settings: As the recipe has it.

    Raises:
        ConfigError: If the `openai` client is not installed, or the key is not in the environment.
    """

    def __init__(self, settings: Endpoint) -> None:
        self._cfg = settings
        self.name = settings.model
        self.limits = Limits(
            settings.concurrency,
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.retries,
            settings.patience_s,
        )
        self._key = None if settings.key_env is None else key_from(settings.key_env, "key_env")
        self._openai = _client_library()
        self._client: Any = None

    @property
    def priced(self) -> bool:
        """Whether the recipe says a price."""
        return self._cfg.price is not None

    @property
    def identity(self) -> list[object]:
        """The model by its name, and how it is asked; where the server stands is not part of it."""
        return [self.name, self._cfg.revision, self._cfg.extra, self._cfg.json_by]

    def sees(self, asked: Asked) -> list[object]:
        """The pictures and their times."""
        return [[one.digest, seconds(one.seconds)] for one in asked.pictures]

    def bound(self, asked: Asked) -> Bound:
        """A byte of text is a token at most; a picture as many as the settings say."""
        each = self._cfg.tokens_per_frame
        shown = sum(each or _patches(one.size) for one in asked.pictures)
        schema = len(json.dumps(asked.schema)) if asked.schema and self._cfg.json_by == "schema" else 0
        read = len(asked.prompt.encode()) + schema + shown + _PER_PICTURE * len(asked.pictures) + _AROUND
        return Bound(read, asked.max_tokens, self.money(read, asked.max_tokens))

    def money(self, read: int, written: int) -> float:
        """By the price of a million tokens."""
        price = self._cfg.price
        return 0.0 if price is None else (price.input * read + price.output * written) / 1e6

    async def ask(self, asked: Asked) -> Said:
        """Ask once.

        Raises:
            Failed: If there is no answer.
        """
        began = time.monotonic()
        if self._client is None:
            self._client = self._connect()
        try:
            async with asyncio.timeout(self._cfg.timeout_s):
                raw = await self._send(self._client, asked)
        except TimeoutError:
            told = f"no answer within {self._cfg.timeout_s:g} s"
            raise Failed(self.name, told, "raise timeout_s", again=True, paid=True) from None
        except self._openai.APIStatusError as error:
            raise self._refusal(error.status_code, error.response) from None
        except self._openai.APIConnectionError as error:
            raise self._unreached(error) from None
        except _TooLongError as error:
            raise Failed(self.name, str(error), paid=True) from None
        except self._openai.OpenAIError as error:
            raise Failed(self.name, self._shown(str(error)), paid=True) from None
        return self._said(raw.content, time.monotonic() - began)

    async def _send(self, client: Any, asked: Asked) -> Any:
        """The raw response to a question."""
        return await client.chat.completions.with_raw_response.create(**self._request(asked))

    async def close(self) -> None:
        """Close connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connect(self) -> Any:
        library = self._openai
        http = library.DefaultAsyncHttpxClient(
            transport=_bounded_transport(library, _proxy(self._cfg.url)),
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
        )
        return library.AsyncOpenAI(
            # Without a key of its own it would take what the environment has for another server.
            api_key=self._key or "none",
            base_url=self._cfg.url,
            # Nor are accounts of the environment told to others.
            default_headers=dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), library.Omit()),
            timeout=library.Timeout(self._cfg.timeout_s, connect=min(_CONNECT_S, self._cfg.timeout_s)),
            max_retries=0,
            http_client=http,
        )

    def _request(self, asked: Asked) -> dict[str, Any]:
        request = self._drawn(asked) | {
            "messages": [{"role": "user", "content": _content(asked)}],
            self._cfg.limit: asked.max_tokens,
            "extra_body": dict(self._cfg.extra) or None,
        }
        if asked.schema is not None and self._cfg.json_by == "object":
            request["response_format"] = {"type": "json_object"}
        if asked.schema is not None and self._cfg.json_by == "schema":
            named = {"name": "answer", "strict": True, "schema": asked.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        return request

    def _drawn(self, asked: Asked) -> dict[str, Any]:
        """The model, and how its tokens are chosen."""
        request: dict[str, Any] = {"model": self._cfg.model}
        # What need not be said is left out: there are models that refuse it.
        if asked.temperature is not None:
            request["temperature"] = asked.temperature
        if asked.top_p < 1:
            request["top_p"] = asked.top_p
        if self._cfg.seeded:
            request["seed"] = asked.seed
        return request

    def _said(self, content: bytes, took_s: float) -> Said:
        try:
            found = json.loads(content)
            choice = found["choices"][0]
            message = choice["message"]
            text, refusal, finish = (
                message.get("content"),
                message.get("refusal"),
                choice.get("finish_reason"),
            )
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise Failed(self.name, "its reply holds no answer", again=True, paid=True) from None
        if refusal or finish == "content_filter":
            raise Refused(self.name, f"it refuses: {self._shown(str(refusal or finish))}", paid=True)
        if not isinstance(text, str):
            raise Failed(self.name, "its reply holds no text", again=True, paid=True)
        used = found.get("usage")
        used = used if isinstance(used, dict) else {}
        read, written = _count(used.get("prompt_tokens")), _count(used.get("completion_tokens"))
        return Said(self._cleaned(text), finish == "length", read, written, took_s)

    def _cleaned(self, text: str) -> str:
        """What was said, without halves of letters, which no file can hold, and without the key."""
        return without(text.encode("utf-8", "replace").decode(), self._key)

    def _refusal(self, status: int, response: Any) -> Failed:
        """What an error status means."""
        text = self._shown(_message(response))
        told = f"it answers with status {status}" + (f": {text}" if text else "")
        lowered = text.lower()
        if any(words in lowered for words in _NO_PICTURES):
            remedy = "name a model that sees pictures, or start the server with its vision part"
            return Unusable(self.name, told, remedy)
        if status in (401, 403):
            name = self._cfg.key_env
            remedy = f"check the key in {name}" if name else "name the variable of its key in `key_env`"
            return Unusable(self.name, told, remedy)
        if status == 404:  # of what is asked about nothing lies there: frames are in the request
            return Unusable(self.name, told, "check `model`, and the address")
        if status == 402 or any(word in lowered for word in _NO_MONEY):
            return Unusable(self.name, told, "pay what is owed there, and run the same command again")
        if status == 400 and any(word in lowered for word in _REFUSALS):
            return Refused(self.name, told)
        if status in (408, 409, 425, 429) or status >= 500:
            return Failed(self.name, told, again=True, after_s=_wait(response.headers))
        remedy = "try `json_by: object` or `prompt`" if "response_format" in lowered else ""
        if _TOO_MANY.search(lowered):
            remedy = "show it fewer pictures: `frames.count`, `frames.moving`, `frames.cap`"
        return Failed(self.name, told, remedy)

    def _unreached(self, error: Exception) -> Failed:
        cause = error.__cause__
        if isinstance(cause, _TooLongError):
            return Failed(self.name, str(cause), paid=True)
        # Where no connection was made nothing was sent, and nothing is paid.
        sent = "Connect" not in type(cause).__name__
        told = self._shown(str(cause or error)) or type(cause or error).__name__
        return Failed(
            self.name,
            f"{self._cfg.url} cannot be reached ({told})",
            "check its address, `url`, and that it is up",
            again=True,
            paid=sent,
            absent=not sent,
        )

    def _shown(self, text: str) -> str:
        text = readable(" ".join(without(text, self._key).split()))
        return text[:_TOLD] + ("..." if len(text) > _TOLD else "")


class _TooLongError(Exception):
    """A reply that is not read to its end."""


def _client_library() -> Any:
    try:
        return importlib.import_module("openai")
    except ImportError:
        raise ConfigError("openai", "the client is not installed", "pip install 'vidapt[teach]'") from None


def _proxy(url: str) -> str | None:
    """What the environment says that requests to an address go through."""
    parts = urllib.parse.urlsplit(url)
    direct = urllib.request.proxy_bypass(parts.hostname or "")
    return None if direct else urllib.request.getproxies().get(parts.scheme)


def _bounded_transport(library: Any, proxy: str | None) -> Any:
    """What carries requests, and no more than `MOST_BYTES` of a reply, whatever its status."""
    base = next(one for one in library.DefaultAsyncHttpxClient.__mro__ if one.__name__ == "AsyncClient")
    http = importlib.import_module(base.__module__.partition(".")[0])  # the client's own httpx

    class Bounded(http.AsyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> Any:
            size = 0
            async for piece in self._stream:
                size += len(piece)
                if size > MOST_BYTES:
                    raise _TooLongError(f"its reply is longer than {MOST_BYTES} bytes")
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Transport(http.AsyncHTTPTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            if response.headers.get("content-encoding", "identity") != "identity":
                await response.aclose()
                raise _TooLongError("its reply is compressed, which was not asked for")
            response.stream = Bounded(response.stream)
            return response

    return Transport(proxy=proxy, limits=http.Limits(max_connections=None))


def _content(asked: Asked) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for one in asked.pictures:
        url = f"data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}"
        content.append({"type": "text", "text": f"[{seconds(one.seconds)} s]"})
        content.append({"type": "image_url", "image_url": {"url": url}})
    return [*content, {"type": "text", "text": asked.prompt}]


def _patches(size: tuple[int, int]) -> int:
    return math.ceil(size[0] / _PATCH) * math.ceil(size[1] / _PATCH)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 10**9 else None


def _message(response: Any) -> str:
    """What an error's body says."""
    text = str(response.text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text[: _TOLD * 16]
    inner = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(inner, dict):
        return " ".join(str(inner[name]) for name in ("message", "code", "type") if inner.get(name))
    return str(inner)


def _wait(headers: Any) -> float | None:
    """Seconds that a server asks to wait (RFC 9110), by number or by date."""
    given = headers.get("retry-after")
    if given is None:
        return None
    try:
        wait = float(given)
    except ValueError:
        try:
            wait = (email.utils.parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, wait) if math.isfinite(wait) else None
