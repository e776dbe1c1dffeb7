"""A server is asked as its interface says, and whatever it replies costs one question at most."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_tools import said, serving

from vidapt.errors import ConfigError
from vidapt.measure import served
from vidapt.measure.served import Server, ServerError
from vidapt.nouns import MEDIA, Clip
from vidapt.video import write_mp4


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "a.mp4"
    write_mp4(path, np.zeros((4, 16, 16, 3), np.uint8), 2)
    return Clip("a", path)


@pytest.fixture
def still(tmp_path: Path) -> Clip:
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    return Clip("b", tmp_path / "b.png")


def test_films_and_stills_are_sent_where_they_stand_and_greedily(clip: Clip, still: Clip) -> None:
    with serving(lambda body: said("yes", prompt_token_ids=[5])) as fake:
        reply = Server(fake.url + "/v1/").ask((clip, still), f"in {MEDIA} or {MEDIA}?", 7)
    assert (reply.text, reply.prompt_ids) == ("yes", (5,))
    (body,) = fake.heard
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 7)
    assert (body["top_k"], body["repetition_penalty"]) == (-1, 1.0)
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "video_url", "text", "image_url", "text"]
    assert [part["text"] for part in content[::2]] == ["in ", " or ", "?"]
    film, picture = content[1]["video_url"]["url"], content[3]["image_url"]["url"]
    assert film.startswith("data:video/mp4;base64,")
    assert base64.b64decode(film.partition(",")[2]) == clip.path.read_bytes()
    assert picture.startswith("data:image/png;base64,")
    assert "Authorization" not in fake.headers[0]


def test_paths_are_sent_if_asked_for_and_clips_stand_before_words_without_marks(clip: Clip) -> None:
    with serving(lambda body: said("yes", prompt_token_ids=[5])) as fake:
        Server(fake.url, "mine", files=True, key="s3cret").ask((clip,), "what?", 7)
    assert fake.heard[0]["model"] == "mine"
    first, second = fake.heard[0]["messages"][0]["content"]
    assert first == {"type": "video_url", "video_url": {"url": clip.path.resolve().as_uri()}}
    assert second == {"type": "text", "text": "what?"}
    assert [one["Authorization"] for one in fake.headers] == ["Bearer s3cret"]


def ids_for(name: str, reply: dict[str, Any], *, strict: bool) -> Any:
    """A server that gives ids for one field, and refuses or overlooks all others."""

    def answer(body: dict[str, Any]) -> Any:
        others = {"return_token_ids", "return_prompt_token_ids", "prompt_logprobs"} - {name}
        if strict and others & set(body):
            return 400, {"error": {"message": "extra fields"}}
        return reply if name in body else said("yes")

    return answer


INSIDE = {"choices": [{"message": {"content": "yes"}, "prompt_token_ids": [5, 6], "token_ids": [1]}]}
LOGPROBS = said(
    "yes", prompt_logprobs=[None, {"6": {"logprob": -1.5, "rank": 1, "decoded_token": "x"}}, {"7": {}}]
)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("name", "reply", "ids", "requests"),
    [
        ("return_token_ids", INSIDE, (5, 6), 1),
        ("return_prompt_token_ids", INSIDE, (5, 6), 2),
        ("prompt_logprobs", LOGPROBS, (None, 6, 7), 3),
        ("nothing", {}, None, 4),
    ],
)
def test_ids_are_asked_for_in_every_way_once_and_then_in_the_one_that_works(
    clip: Clip, name: str, reply: Any, ids: Any, requests: int, strict: bool
) -> None:
    with serving(ids_for(name, reply, strict=strict)) as fake:
        server = Server(fake.url)
        assert server.ask((clip,), "what?", 7).prompt_ids == ids
        assert len(fake.heard) == requests
        assert server.ask((clip,), "and?", 7).prompt_ids == ids
        assert len(fake.heard) == requests + 1
    assert (name in fake.heard[-1]) == (ids is not None)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"<html>", "its reply is no JSON"),
        (b"[" * 100_000, "its reply is no JSON"),
        ({"choices": []}, "its reply holds no answer"),
        ([], "its reply holds no answer"),
        (said(None), "its reply holds no answer"),  # type: ignore[arg-type]
        ((500, {"error": {"message": "out of\x1b[31m memory"}}), r"status 500: out of\x1b[31m memory"),
        ((503, b"\xff busy"), "it refuses with status 503: � busy"),
        ((401, {"detail": "who are you?"}), "it refuses with status 401"),
        ((307, {}), "it refuses with status 307"),
        ((302, {}), "it refuses with status 302"),
        ((400, {"message": "x" * 5000}), "x..."),
        (None, "it cannot be reached"),
    ],
)
def test_what_a_server_does_wrong_is_told_plainly(clip: Clip, reply: Any, told: str) -> None:
    with serving(lambda body: reply) as fake, pytest.raises(ServerError) as error:
        Server(fake.url).ask((clip,), "what?", 7)
    assert told in error.value.found
    assert len(error.value.found) < 400
    assert str(error.value).isprintable() or "\n" in str(error.value)


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        ({"prompt_token_ids": ["5"]}, None),
        ({"prompt_token_ids": [True]}, None),
        ({"prompt_token_ids": []}, None),
        ({"prompt_logprobs": [None, {"x": {}}]}, None),
        ({"prompt_logprobs": [None]}, None),
        ({"prompt_logprobs": 3}, None),
    ],
)
def test_odd_ids_are_no_ids(clip: Clip, more: Any, ids: None) -> None:
    with serving(lambda body: said("yes", **more)) as fake:
        assert Server(fake.url).ask((clip,), "what?", 7).prompt_ids is ids


def drops(seconds: float) -> Iterator[bytes]:
    """A reply that never pauses for long, and would be fine in the end."""
    text = json.dumps(said("yes", prompt_token_ids=[5])).encode()
    for place in range(len(text)):
        time.sleep(seconds / len(text))
        yield text[place : place + 1]


def test_a_server_that_hangs_or_talks_without_end_is_left(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda body: time.sleep(1)) as fake, pytest.raises(ServerError) as late:
        Server(fake.url, timeout_s=0.2).ask((clip,), "what?", 7)
    assert (late.value.found, late.value.status) == ("no answer within 0.2 s", 0)
    with serving(lambda body: drops(2.0)) as fake, pytest.raises(ServerError, match="no answer within"):
        Server(fake.url, timeout_s=0.4).ask((clip,), "what?", 7)
    monkeypatch.setattr(served, "_REPLY_BYTES", 1000)
    with serving(lambda body: said("x" * 2000)) as fake, pytest.raises(ServerError, match="longer than 1000"):
        Server(fake.url).ask((clip,), "what?", 7)


@pytest.mark.parametrize("models", [(), [], {"data": [{"id": 3}]}])
def test_a_server_has_to_say_which_model_it_has(clip: Clip, models: Any) -> None:
    with (
        serving(lambda body: said("yes"), models) as fake,
        pytest.raises(ServerError, match="lists no model"),
    ):
        Server(fake.url).ask((clip,), "what?", 7)


def test_what_cannot_be_sent_is_told(
    clip: Clip, still: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda body: said("yes")) as fake:
        server = Server(fake.url)
        for medium, told in (
            (Clip("a", clip.path, 1.0, 2.0), "only whole files"),
            (Clip("f", still.path.parent), "of kind folder"),
        ):
            with pytest.raises(ServerError, match=told) as error:
                server.ask((medium,), "what?", 7)
            assert error.value.status is None
        with pytest.raises(ServerError, match="2 places for 1 clips"):
            server.ask((clip,), MEDIA + MEDIA, 7)
        monkeypatch.setattr(served, "MOST_BYTES", 10)
        with pytest.raises(ServerError, match="more than is sent"):
            server.ask((clip,), "what?", 7)
    assert not fake.heard


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:8000",
        "ftp://host",
        "http://",
        "http://a b",
        "http://h:99999",
        "http://u:pw@h",
        "http://h/?a=1",
    ],
)
def test_an_address_that_is_none_is_refused_and_no_secret_shown(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        Server(url)
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_a_key_that_no_header_may_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Server("http://host", key=key)
    assert not key or key not in str(error.value)
