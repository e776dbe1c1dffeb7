"""What a user writes about whom to ask: a server or a model of their own, prices, a budget; no key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from vidapt.addresses import base_url, looks_like_key
from vidapt.errors import ConfigError
from vidapt.strict import ModelName, Strict

_Count = Annotated[int, Field(ge=1, le=1024)]
_Money = Annotated[float, Field(ge=0, le=1_000_000)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class Price(Strict):
    """What a million tokens cost.

    Attributes:
        input: Of what is read, pictures among it.
        output: Of what is written.
    """

    input: _Money
    output: _Money


class Endpoint(Strict):
    """A model behind a server with the interface of OpenAI's chat completions.

    Attributes:
        url: Its address, with or without `/v1`.
        model: What the model is called there.
        revision: Tells replies of a model apart from those it gave under the same name before.
        key_env: Environment variable that holds the key; None sends none.
        price: Needed wherever money is to be bounded; None counts no money.
        tokens_per_frame: The most tokens that a frame costs there, for the budget and the plan; None takes
            one for every 14x14 pixels.
        json_by: How JSON is asked for: by `schema`, as any `object`, or by the words of the `prompt` alone.
        limit: What the server calls the longest answer.
        seeded: Whether a seed is sent; not every server takes one.
        extra: Further fields of every request.
        concurrency: Most requests under way.
        requests_per_minute: Most requests begun in a minute; None bounds nothing.
        tokens_per_minute: Most tokens, by their upper bound, of requests begun in a minute.
        timeout_s: Longest wait for one answer.
        retries: How often a request is repeated that came to nothing.
        patience_s: Longest pause that a server may ask for; beyond it the job stops.
    """

    kind: Literal["endpoint"] = "endpoint"
    url: str
    model: _Name
    revision: str = Field("", max_length=200)
    key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    price: Price | None = None
    tokens_per_frame: int | None = Field(None, ge=1, le=1_000_000)
    json_by: Literal["schema", "object", "prompt"] = "schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seeded: bool = True
    extra: dict[str, Any] = Field({})
    concurrency: _Count = 8
    requests_per_minute: float | None = Field(None, gt=0, le=1_000_000)
    tokens_per_minute: float | None = Field(None, gt=0, le=1e12)
    timeout_s: float = Field(120.0, gt=0, le=3600)
    retries: int = Field(6, ge=0, le=100)
    patience_s: float = Field(600.0, ge=0, le=86_400)

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        try:
            return base_url(url, "url")
        except ConfigError as error:
            raise ValueError(error.found) from None

    @field_validator("extra")
    @classmethod
    def _further_only(cls, extra: dict[str, Any]) -> dict[str, Any]:
        own = {"model", "messages", "max_tokens", "max_completion_tokens", "stream", "n", "response_format"}
        if taken := sorted(own & extra.keys()):
            raise ValueError(f"{taken[0]!r} is set by vidapt")
        return extra


class Local(Strict):
    """A model that vidapt opens itself; it looks at the moments that it was trained to look at.

    Attributes:
        model: A shipped model's name, a run's folder or a checkpoint's folder.
        device: Where it runs.
    """

    kind: Literal["local"] = "local"
    model: ModelName
    device: str = Field("cpu", min_length=1)


def _kind(told: Any) -> str:
    """Which of them is meant; a server where nothing is said."""
    kind = told.get("kind", "endpoint") if isinstance(told, dict) else getattr(told, "kind", "")
    return str(kind)


# Not by the field's name: pydantic takes none that a validator of all fields sees first.
Who = Annotated[Annotated[Endpoint, Tag("endpoint")] | Annotated[Local, Tag("local")], Discriminator(_kind)]
"""Who is asked."""


class Budget(Strict):
    """Where a job stops. Requests are not begun that could go beyond it.

    Attributes:
        money: None bounds nothing.
        tokens: Read and written.
        currency: In which prices are given.
    """

    money: float | None = Field(None, gt=0, le=1e9)
    tokens: int | None = Field(None, gt=0, le=10**15)
    currency: str = Field("USD", min_length=1, max_length=12)


def under(folder: Path, who: Endpoint | Local) -> Endpoint | Local:
    """A local model in the folder of its recipe by its path; another one as it is."""
    if who.kind == "local" and os.path.exists(folder / who.model):  # noqa: PTH110 - it raises nothing
        return who.model_copy(update={"model": os.path.realpath(folder / who.model)})
    return who


def unpriced(who: Endpoint | Local) -> bool:
    """Whether it is not known what it costs."""
    return isinstance(who, Endpoint) and who.price is None


def secret_at(value: Any, where: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    """The place of the first text that looks like a key, or of a key that is called one; None without any."""
    if isinstance(value, str):
        return where if looks_like_key(value) else None
    if isinstance(value, dict):
        inner = list(value.items())
        named = next((key for key in value if str(key).lower() in _SECRET and value[key] is not None), None)
        if named is not None:
            return (*where, named)
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return next((found for key, one in inner if (found := secret_at(one, (*where, key)))), None)


_SECRET = frozenset({"key", "api_key", "apikey", "token", "secret", "password", "authorization"})
"""Names under which nothing may stand in a recipe."""
