"""Recipes of labels: read strictly, with no key in them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from label_tools import KEY, KEY_ENV, given
from pydantic import ValidationError

from vidapt import addresses
from vidapt.chat import settings as c
from vidapt.errors import ConfigError
from vidapt.strict import Strict
from vidapt.teaching import settings as s
from vidapt.teaching.read import read_labelling, shipped
from vidapt.teaching.wording import FIELDS, filled

URL = "http://127.0.0.1:9"
TINY = math.nextafter(0, 1)
ABOVE_1 = math.nextafter(1, 2)
AN_ENDPOINT = {"url": URL, "model": "m"}


def read(tmp_path: Path, **more: Any) -> s.Labelling:
    path = tmp_path / "label.yaml"
    path.write_text(yaml.safe_dump(given(URL, **more)))
    return read_labelling(path)


def test_the_shipped_recipe_is_sound_and_says_all_defaults_as_they_are() -> None:
    found = read_labelling()
    written = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    assert found.frames == s.Shown()
    assert found.facts == s.Facts()
    assert found.questions == s.Questions()
    assert found.again == s.Again()
    assert found.budget == c.Budget()
    assert found.decoding == s.Decoded()
    assert set(written["prompts"]) == set(s.Prompts.model_fields)


def test_prompts_that_a_recipe_leaves_out_are_the_shipped_ones(tmp_path: Path) -> None:
    found = read(tmp_path, prompts={"caption": "Say what you see at $times."})
    assert found.prompts.caption == "Say what you see at $times."
    assert found.prompts.facts == read_labelling().prompts.facts


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"mode": "poem"}, "there is no such mode"),
        ({"frames": {"cuont": 3}}, "did you mean 'count'?"),
        ({"frames": {"count": 9, "cap": 8}}, "more than `cap`"),
        ({"frames": {"count": True}}, "a number is needed, not true or false"),
        ({"endpoint": {"url": "ftp://x"}}, "no address"),
        ({"endpoint": {"url": "http://me:secret@x"}}, "holds no secrets"),
        ({"endpoint": {"extra": {"messages": []}}}, "'messages' is set by vidapt"),
        ({"endpoint": {"key_env": "not a name"}}, "key_env"),
        ({"endpoint": {"kind": "oracle"}}, "oracle"),
        ({"prompts": {"caption": "$tmies"}}, "did you mean 'times'?"),
        ({"prompts": {"caption": "5 $ a piece"}}, "begins no name"),
        ({"prompts": {"write": "Write."}}, "`$facts` does not stand in it"),
        ({"prompts": {"ask": " "}}, "is empty"),
        ({"samples": 3}, "need a `decoding.temperature` above 0"),
        ({"again": {"below": 0.5}}, "compares voices"),
        ({"facts": {"least_votes": 2}}, "there are 1 voices"),
        ({"endpoint": {"price": None}, "budget": {"money": 1}}, "needs the `price`"),
    ],
)
def test_mistakes_are_told_with_their_lines(more: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, **more)
    assert told in str(error.value)
    assert "line " in str(error.value)


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "sk-proj-abcdefghij0123456789",
        "Bearer abcdefgh12345678",
        "hf_abcdefghijklmnopqrstuvwx",
        "gsk_abcdefghijklmnopqrstuvwx",
        "AIzaSyA0123456789abcdefghij",
    ],
)
@pytest.mark.parametrize("place", ["extra", "model", "prompt", "set", "key"])
def test_keys_in_recipes_are_refused_and_not_shown(place: str, secret: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "extra": {"endpoint": {"extra": {"header": {"x": secret}}}},
        "model": {"endpoint": {"model": secret}},
        "prompt": {"prompts": {"caption": f"My key is {secret}"}},
        "set": {},
        "key": {"endpoint": {"api_key": "anything at all"}},
    }[place]
    path = tmp_path / "label.yaml"
    path.write_text(yaml.safe_dump(given(URL, **more)))
    with pytest.raises(ConfigError, match="looks like a key") as error:
        read_labelling(path, [f"teachers.0.model={secret}"] if place == "set" else [])
    assert secret not in str(error.value)
    assert "anything" not in str(error.value)


def test_the_key_of_the_environment_is_refused_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, "plain-word")
    with pytest.raises(ConfigError, match="looks like a key") as error:
        read(tmp_path, endpoint={"key_env": KEY_ENV, "extra": {"user": "plain-word"}})
    assert "plain-word" not in str(error.value)


def test_a_key_that_is_missing_or_no_key_is_told_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(ConfigError, match=f"{KEY_ENV} is not set"):
        addresses.key_from(KEY_ENV, "key_env")
    for value in ("", "two words", "né"):
        monkeypatch.setenv(KEY_ENV, value)
        with pytest.raises(ConfigError, match="is empty or has letters"):
            addresses.key_from(KEY_ENV, "key_env")


def test_what_looks_like_a_key_is_hidden_and_words_are_not() -> None:
    assert addresses.without(f"it says {KEY}!", None) == "it says [key]!"
    assert addresses.without("my own secret", "own") == "my [key] secret"
    plain = "The task-based risk-averse player hits a disk-shaped-something-very-long ball."
    assert addresses.without(plain, None) == plain


def test_templates_run_nothing_and_keep_braces() -> None:
    assert filled('{"a": $most} costs $$5', {"most": 3}) == '{"a": 3} costs $5'
    assert filled("$facts", {"facts": "$times {0} ${x}"}) == "$times {0} ${x}"
    assert set(FIELDS) == set(s.Prompts.model_fields)


EDGES: list[tuple[type[Strict], str, tuple[list[Any], list[Any]]]] = [
    (c.Price, "input", ([0.0], [-TINY])),
    (c.Price, "output", ([0.0], [-TINY])),
    (c.Endpoint, "tokens_per_frame", ([1], [0])),
    (c.Endpoint, "concurrency", ([1, 1024], [0, 1025])),
    (c.Endpoint, "requests_per_minute", ([TINY], [0.0])),
    (c.Endpoint, "tokens_per_minute", ([TINY], [0.0])),
    (c.Endpoint, "timeout_s", ([TINY, 3600], [0.0, 3601])),
    (c.Endpoint, "retries", ([0, 100], [-1, 101])),
    (c.Endpoint, "patience_s", ([0.0, 86_400], [-TINY, 86_401])),
    (s.Shown, "count", ([1, 32], [0, 33, 1025])),
    (s.Shown, "every_s", ([TINY, None], [0.0])),
    (s.Shown, "moving", ([1.0, 16.0], [1 - 1e-9, 17])),
    (s.Shown, "moving_above", ([0.0, 255.0], [-TINY, 256])),
    (s.Shown, "cap", ([4, 1024], [0, 3, 1025])),
    (s.Shown, "side", ([32, 4096], [31, 4097])),
    (s.Shown, "quality", ([1, 95], [0, 96])),
    (s.Decoded, "temperature", ([0.0, 2.0, None], [-TINY, 2.1])),
    (s.Decoded, "top_p", ([TINY, 1.0], [0.0, ABOVE_1])),
    (s.Decoded, "max_tokens", ([1, 65_536], [0, 65_537])),
    (s.Decoded, "seed", ([0, 2**31 - 1], [-1, 2**31])),
    (s.Again, "below", ([0.0, 1.0], [-TINY, ABOVE_1])),
    (s.Again, "frames", ([1.0, 16.0], [0.9, 17])),
    (s.Again, "drop_below", ([0.0, 1.0], [-TINY, ABOVE_1])),
    (s.Facts, "segment_s", ([TINY, 86_400], [0.0, 86_401])),
    (s.Facts, "most_segments", ([1, 256], [0, 257])),
    (s.Facts, "beside", ([0, 16], [-1, 17])),
    (s.Facts, "alike", ([0.0, 1.0], [-TINY, ABOVE_1])),
    (s.Facts, "least_votes", ([1, None], [0])),
    (s.Facts, "most", ([1, 500], [0, 501])),
    (s.Questions, "count", ([1, 200], [0, 201])),
    (c.Budget, "money", ([TINY, None], [0.0])),
    (c.Budget, "tokens", ([1, None], [0])),
]


@pytest.mark.parametrize(("model", "name", "edges"), EDGES, ids=[one[1] for one in EDGES])
def test_bounds(model: type[Strict], name: str, edges: tuple[list[Any], list[Any]]) -> None:
    beside: dict[str, Any] = {c.Price: {"input": 1, "output": 1}, c.Endpoint: AN_ENDPOINT}.get(model, {})
    for value in edges[0]:
        assert getattr(model.model_validate({**beside, name: value}), name) == value
    for value in edges[1]:
        with pytest.raises(ValidationError):
            model.model_validate({**beside, name: value})
