"""Asks a model behind an OpenAI-compatible server, such as vLLM or SGLang, and trusts nothing that it says.

Token ids of prompts are no part of that interface. vLLM gives them for `return_token_ids`, and where it does
not, as keys of `prompt_logprobs`; SGLang for `return_token_ids` or, before that, `return_prompt_token_ids`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import mimetypes
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from vidapt.addresses import base_url, checked_key
from vidapt.errors import VidaptError, readable
from vidapt.nouns import MEDIA, Clip
from vidapt.video import probe

MOST_BYTES = 256 * 1024**2
"""Largest file that is sent inside a request."""

_REPLY_BYTES = 64 * 1024**2
_TOLD = 300
"""Letters of a server's message that are shown."""

_PLAIN = {"repetition_penalty": 1.0, "top_k": -1}
"""What a checkpoint's own settings may have changed, and greedy decoding does not have."""

_WAYS: tuple[Mapping[str, Any], ...] = (
    {"return_token_ids": True, **_PLAIN},
    {"return_prompt_token_ids": True, **_PLAIN},
    {"prompt_logprobs": 0, **_PLAIN},
    {},
)
"""How ids are asked for, in order; the last asks for none."""

PromptIds = tuple[int | None, ...]
"""Ids of a prompt; None where the server does not tell one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered.

    Attributes:
        text: The answer.
        prompt_ids: What it has read; None if it does not say.
    """

    text: str
    prompt_ids: PromptIds | None


class ServerError(VidaptError):
    """A server that cannot be used, or refuses one question.

    Args:
        where: Its address.
        found: What it did.
        remedy: What can be done.
        status: Of HTTP; 0 if there was no reply, None if nothing was sent.
    """

    def __init__(self, where: str, found: str, remedy: str = "", status: int | None = None) -> None:
        self.status = status
        super().__init__(where, found, remedy)


class Server:
    """A server.

    Args:
        url: Its address, with or without `/v1`.
        model: What the model is called there; None takes the first one that it lists.
        key: Sent as a bearer token.
        timeout_s: How long one question may take.
        files: Tell the server the paths of files instead of sending them.

    Raises:
        ConfigError: If the address or the key cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = 120.0,
        files: bool = False,
    ) -> None:
        self.url, self._timeout_s, self._files = base_url(url, "--against"), timeout_s, files
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {checked_key(key, 'key')}"
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._model = model
        self._way: Mapping[str, Any] | None = None

    @property
    def model(self) -> str:
        """What the model is called there.

        Raises:
            ServerError: If the server lists none.
        """
        if self._model is None:
            listed = self._send("models", None)
            try:
                name = listed["data"][0]["id"]
            except (LookupError, TypeError):
                name = None
            if not isinstance(name, str):
                raise ServerError(self.url, "it lists no model", "name one with --served")
            self._model = name
        return self._model

    def ask(self, media: Sequence[Clip], question: str, max_tokens: int) -> Reply:
        """Ask one question, greedily.

        Args:
            media: The clips it is about.
            question: With a mark where each stands, or without any.
            max_tokens: Longest answer.

        Raises:
            ServerError: If there is no answer, or the clips cannot be sent.
            BrokenClip: If a clip cannot be read.
        """
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": self._content(media, question)}],
            "temperature": 0,
            "top_p": 1,
            "max_tokens": max_tokens,
            "stream": False,
        }
        if self._way is not None:
            return _reply(self._send("chat/completions", {**asked, **self._way}), self.url)
        return self._first(asked)

    def _first(self, asked: dict[str, Any]) -> Reply:
        """Ask in one way after the other until ids come back, and stay with it."""
        for way in _WAYS:
            try:
                reply = _reply(self._send("chat/completions", {**asked, **way}), self.url)
            except ServerError as error:
                if way and error.status in (400, 404, 422, 501):  # it may not know what is asked for
                    continue
                raise
            if reply.prompt_ids is not None or not way:
                self._way = way
                return reply
        raise AssertionError("the last way is taken or raises")

    def _content(self, media: Sequence[Clip], question: str) -> list[dict[str, Any]]:
        parts = question.split(MEDIA)
        if len(parts) == 1:
            parts = [""] * len(media) + parts
        if len(parts) != len(media) + 1:
            raise ServerError(self.url, f"{len(parts) - 1} places for {len(media)} clips cannot be sent")
        content: list[dict[str, Any]] = []
        for number, text in enumerate(parts):
            content += [self._medium(media[number - 1])] if number else []
            content += [{"type": "text", "text": text}] if text else []
        return content

    def _medium(self, clip: Clip) -> dict[str, Any]:
        if clip.start_s or clip.end_s is not None:
            raise ServerError(self.url, "only whole files can be sent, and this is a part of one")
        kind = probe(clip.path).kind
        if kind not in ("video", "still"):
            raise ServerError(self.url, f"only videos and stills can be sent, and this is of kind {kind}")
        name = "video_url" if kind == "video" else "image_url"
        return {"type": name, name: {"url": self._address(clip.path, kind)}}

    def _address(self, path: Path, kind: str) -> str:
        if self._files:
            return path.resolve().as_uri()
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ServerError(
                self.url, f"{size} bytes are more than is sent", "use --files on the server's machine"
            )
        told = mimetypes.guess_type(path.name)[0] or ""
        fits = told.startswith("video/" if kind == "video" else "image/")
        mime = told if fits else "video/mp4" if kind == "video" else "image/png"
        return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"

    def _send(self, what: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{what}", data, self._headers)
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                return json.loads(self._read(reply, deadline))
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(self.url, _refusal(error), status=error.code) from None
        except TimeoutError as error:
            raise self._too_late() from error
        except (OSError, HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise self._too_late() from error
            raise ServerError(
                self.url, f"it cannot be reached ({readable(str(reason))})", status=0
            ) from error
        except (ValueError, RecursionError) as error:
            raise ServerError(self.url, "its reply is no JSON", status=200) from error

    def _too_late(self) -> ServerError:
        return ServerError(self.url, f"no answer within {self._timeout_s:g} s", status=0)

    def _read(self, reply: Any, deadline: float) -> bytes:
        pieces, size = [], 0
        while piece := reply.read1(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > _REPLY_BYTES:
                raise ServerError(self.url, f"its reply is longer than {_REPLY_BYTES} bytes", status=200)
            if time.monotonic() > deadline:
                raise TimeoutError
        return b"".join(pieces)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for the server that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _refusal(error: urllib.error.HTTPError) -> str:
    text = ""
    with contextlib.suppress(OSError, HTTPException, ValueError):
        text = error.read(_TOLD * 16).decode("utf-8", "replace")
        found = json.loads(text)
        inner = found.get("error", found) if isinstance(found, dict) else found
        text = str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    told = readable(" ".join(text.split()))
    told = told[:_TOLD] + ("..." if len(told) > _TOLD else "")
    return f"it refuses with status {error.code}" + (f": {told}" if told else "")


def _reply(found: Any, where: str) -> Reply:
    try:
        choice = found["choices"][0]
        text = choice["message"]["content"]
    except (LookupError, TypeError):
        text = choice = None
    if not isinstance(text, str):
        raise ServerError(where, "its reply holds no answer", status=200)
    for ids in (found.get("prompt_token_ids"), choice.get("prompt_token_ids")):
        if isinstance(ids, list) and ids and all(type(one) is int for one in ids):
            return Reply(text, tuple(ids))
    return Reply(text, _of_logprobs(found.get("prompt_logprobs")))


def _of_logprobs(found: Any) -> PromptIds | None:
    """Ids that are keys of what is told of every place; of the first nothing is."""
    if not isinstance(found, list) or not found:
        return None
    ids: list[int | None] = []
    for place in found:
        key = next(iter(place), "") if isinstance(place, dict) else None
        if key is not None and not str(key).isdecimal():
            return None
        ids.append(None if key is None else int(key))
    return tuple(ids) if any(one is not None for one in ids) else None
