"""Parts of the server: keys, shares of a minute, schemas, forms, numbers, and weights held once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from evidence_tools import model_in
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.inference.load import load
from vidapt.json_fits import SchemaError, check_schema, misfit, read_json
from vidapt.models.adapters import at_scale
from vidapt.models.folder import save_model
from vidapt.recipe import LoRA
from vidapt.serving.gauges import Gauges
from vidapt.serving.keys import VARIABLE, add_key, read_keys
from vidapt.serving.purse import Rates
from vidapt.serving.refused import RefusedError
from vidapt.serving.serve import Wanted, named, serve
from vidapt.serving.sharing import share_weights
from vidapt.serving.terms import Terms
from vidapt.serving.uploads import Uploads, sent_file

RUN = CliRunner()


def test_a_file_of_keys_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = [add_key(path, name) for name in ("ann", "bob")]
    assert not any(key in path.read_text() for key in made)
    keys = read_keys(path, "x" * 20)
    assert [keys.who(f"Bearer {key}") for key in (*made, "x" * 20)] == ["ann", "bob", VARIABLE]
    assert keys.who(f"bearer  {made[0]} ") == "ann"
    for wrong in ("", made[0], f"Basic {made[0]}", f"Bearer {made[0]}a", "Bearer ", "Bearer é\ud800"):
        assert keys.who(wrong) is None
    with pytest.raises(ConfigError, match="ann has a key already"):
        add_key(path, "ann")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ann sk-vidapt-secret\n", "1: is no line of a key"),
        ("ann sha256:12\n", "1: is no line of a key"),
        ("# none\n\n", "holds no key"),
        (f"# two\na sha256:{'0' * 64}\na sha256:{'1' * 64}", "3: a has a key already"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(VidaptError, match=told) as error:
        read_keys(path)
    assert "secret" not in str(error.value)


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    for name in ("", "a b", "../a", "a" * 65):
        with pytest.raises(ConfigError, match="no name for a key"):
            add_key(tmp_path / "keys", name)
    with pytest.raises(ConfigError, match="is not there"):
        read_keys(tmp_path / "keys")
    with pytest.raises(ConfigError, match="short enough to be guessed"):
        read_keys(None, "short")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError):
        read_keys(tmp_path / "bytes")


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 600))
def test_nobody_gets_more_than_a_share(waits: list[float], per_minute: int) -> None:
    now = 0.0
    rates = Rates(per_minute, lambda: now)
    granted = 0
    for wait in waits:
        now += wait
        left = rates.wait_s("ann")
        granted += left == 0
        assert 0 <= left <= 60 / per_minute + 1e-6
    assert granted <= max(1, per_minute / 10) + now * per_minute / 60 + 1e-6
    assert rates.wait_s("bob") == 0


def test_who_waits_as_told_is_let_in() -> None:
    now = 0.0
    rates = Rates(20, lambda: now)
    while not (left := rates.wait_s("ann")):
        pass
    now += left + 1e-6
    assert rates.wait_s("ann") == 0


BALL = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "names": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1},
        "when": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
        "sure": {"const": True},
    },
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"colour": "red", "count": 2, "names": ["a"], "when": None, "sure": True}, None),
        ({"colour": "red", "when": 0.5}, None),
        ([], "it is not of type object"),
        ({}, "it lacks colour"),
        ({"colour": "green"}, "it.colour is none of"),
        ({"colour": "red", "count": True}, "it.count is not of type integer"),
        ({"colour": "red", "count": 1.5}, "it.count is not of type integer"),
        ({"colour": "red", "count": 10}, "it.count is to be at most 9"),
        ({"colour": "red", "names": []}, "it.names has 0 entries"),
        ({"colour": "red", "names": ["long"]}, r"it.names\[0\] has 4 letters"),
        ({"colour": "red", "when": 0}, "it.when is to be above 0"),
        ({"colour": "red", "when": "now"}, "it.when is not of type number"),
        ({"colour": "red", "sure": 1}, "it.sure is none of"),
        ({"colour": "red", "more": 1}, "it.more may not be there"),
    ],
)
def test_a_schema_is_held_against_json(value: Any, told: str | None) -> None:
    import re

    check_schema(BALL)
    reason = misfit(value, BALL)
    assert reason is None if told is None else reason is not None and re.match(told, reason), reason


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON, _JSON)
def test_any_schema_is_refused_or_can_be_held_against_anything(schema: Any, value: Any) -> None:
    try:
        check_schema(schema)
    except SchemaError:
        return
    assert misfit(value, schema) is None or isinstance(misfit(value, schema), str)


@given(_JSON)
def test_json_is_found_behind_words(value: Any) -> None:
    text, reason = read_json(f"Here it is: {json.dumps({'a': value})} and so on", {"type": "object"})
    assert (json.loads(text), reason) == ({"a": value}, None)
    assert read_json("there is none", {})[1]
    assert read_json('{"a": NaN}', {})[1]


@given(st.binary(max_size=400))
def test_a_form_gives_the_file_as_it_was(content: bytes) -> None:
    mark = b"--a-mark-that-is-not-in-it-0123456789"
    body = mark + b'\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
    body += (
        mark + b'\r\nContent-Disposition: form-data; name="file"; filename="a"\r\ncontent-type: a/b\r\n\r\n'
    )
    kind = f"multipart/form-data; boundary={mark[2:].decode()}"
    assert sent_file(kind, body + content + b"\r\n" + mark + b"--\r\n") == content
    with pytest.raises(RefusedError):
        sent_file(kind, content)


def test_files_are_forgotten_in_time(tmp_path: Path) -> None:
    now = 0.0
    uploads = Uploads(tmp_path, Terms(kept_s=10), lambda: now)
    kept = uploads.keep("ann", b"abc")
    assert uploads.find("ann", kept.id).path.read_bytes() == b"abc"
    now = 11
    with pytest.raises(RefusedError):
        uploads.find("ann", kept.id)
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_as_prometheus_reads_them() -> None:
    gauges = Gauges()
    gauges.add("vidapt_batches_total", 2, model='a "b"\n\\')
    gauges.took("/v1/models", 0.03)
    gauges.watch("vidapt_inside", "Now.", lambda: 3)
    lines = gauges.text().splitlines()
    assert 'vidapt_batches_total{model="a \\"b\\"\\n\\\\"} 2' in lines
    buckets = [line for line in lines if "_bucket" in line]
    counts = [float(line.rpartition(" ")[2]) for line in buckets]
    assert counts == sorted(counts)
    assert counts[1:3] == [0, 1]
    assert 'le="+Inf"' in buckets[-1]
    assert lines[-1] == "vidapt_inside 3"


def test_models_on_one_base_hold_it_once(tmp_path: Path) -> None:
    """A base and two runs that put other adapters on it answer as they did."""
    names = ["base", "one", "two"]
    model_in(tmp_path / "base")
    base = load(tmp_path / "base")
    for seed, name in enumerate(names[1:]):
        tuned = load(tmp_path / "base").model
        tuned.adapt("language", LoRA(rank=2, alpha=4.0))
        generator = torch.Generator().manual_seed(seed)
        for key, weight in tuned.named_parameters():
            if "lora_B" in key:
                weight.data = torch.randn(weight.shape, generator=generator)
        save_model(tmp_path / name, tuned, base.tokenizer, {})
    engines = [load(tmp_path / name) for name in names]
    before = [_logits(engine) for engine in engines]
    size = sum(weight.numel() * 4 for weight in engines[0].model.parameters())
    assert share_weights(engine.model for engine in engines) == 2 * size
    assert share_weights(engine.model for engine in engines) == 0
    for engine, was in zip(engines, before, strict=True):
        assert torch.equal(_logits(engine), was)
    assert not torch.equal(before[1], before[2])
    with at_scale(engines[1].model, 0.0):
        assert torch.allclose(_logits(engines[1]), before[0], atol=1e-5)


def _logits(engine: Any) -> torch.Tensor:
    return engine.answered([], [("what is it?", "it is red.")])[1]


def test_models_have_names(tmp_path: Path) -> None:
    (tmp_path / "run=1").mkdir()
    found = named(["billiards-home", f"{tmp_path}/run=1", "a=billiards-home"])
    assert list(found) == ["billiards-home", "run=1", "a"]
    for twice in (["a", "a"], ["b=a", "b=c"], ["=a"]):
        with pytest.raises(ConfigError, match="write NAME=MODEL"):
            named(twice)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"host": "0.0.0.0"}, "can be reached by others"),
        ({"models": ["no-such-model"]}, "no-such-model"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"port": 1, "host": "203.0.113.9", "open_to_all": True}, "cannot be used"),
    ],
)
def test_what_cannot_be_served_is_told_first(changes: dict[str, Any], told: str) -> None:
    refuse: Callable[..., Any] = lambda _: pytest.fail("it is up")  # noqa: E731
    with pytest.raises(VidaptError, match=told):
        serve(Wanted(**{"models": ["billiards-home"], "port": 0} | changes), refuse)


def test_a_key_is_made_by_a_command(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = RUN.invoke(app, ["serve-key", "ann", "--keys", str(path), "--json"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert read_keys(path).who(f"Bearer {told['key']}") == "ann"
    again = RUN.invoke(app, ["serve-key", "ann", "--keys", str(path)])
    assert again.exit_code == 2
    assert "has a key already" in again.output
