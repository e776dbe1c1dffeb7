"""A model behind a server is measured by the rules of all, and nothing that it said is paid for twice."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_tools import KEY, KEY_ENV, pictures_of, prompt_of, usage
from PIL import Image
from pydantic import ValidationError
from served_tools import Fake, said, serving

from vidapt.chat.remote import Remote, is_remote, read_remote
from vidapt.errors import BudgetError, ConfigError, VidaptError
from vidapt.measure.command import Asking, evaluate_model, evaluate_models
from vidapt.video import write_mp4

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Clips of one colour each, and a broken one, with a question about every one."""
    rows = []
    for name, colour in COLOURS.items():
        pixels = np.broadcast_to(np.array(colour, np.uint8), (6, 48, 64, 3))
        write_mp4(tmp_path / f"{name}.mp4", np.ascontiguousarray(pixels), 4)
        rows.append(row(name, name))
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    rows.append(row("broken", "red"))
    path = tmp_path / "test.json"
    path.write_text(json.dumps(rows))
    return path


def row(name: str, answer: str) -> dict[str, Any]:
    asked = {"from": "human", "value": "<video>\nWhat colour is it?"}
    return {"id": name, "video": f"{name}.mp4", "conversations": [asked, {"from": "gpt", "value": answer}]}


def colour_of(body: dict[str, Any]) -> str:
    """What a looking model says."""
    shown = pictures_of(body)
    if not shown:
        return "I see nothing"
    assert len(shown) == 3
    image = Image.open(io.BytesIO(base64.b64decode(shown[0].partition(",")[2])))
    assert image.size == (32, 24)
    mean = np.asarray(image).mean((0, 1))
    return min(COLOURS, key=lambda name: float(np.abs(mean - np.array(COLOURS[name])).sum()))


def looking(body: dict[str, Any]) -> dict[str, Any]:
    return said(f" {colour_of(body)}\n", **usage())


def described(folder: Path, fake: Fake, **more: Any) -> Path:
    endpoint = {
        "url": fake.url,
        "model": "seer",
        "retries": 0,
        "key_env": KEY_ENV,
        **more.pop("endpoint", {}),
    }
    told = {"endpoint": endpoint, "frames": {"count": 3, "side": 32}, **more}
    path = folder / "seer.yaml"
    path.write_text(json.dumps(told))
    return path


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv(KEY_ENV, KEY)


def test_it_is_asked_with_controls_and_nothing_is_paid_twice(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serving(looking) as fake:
        model = described(tmp_path, fake, prompt="In one word: $question")
        found = evaluate_model(model, Asking(data, workers=0), out)
        asked = len(fake.heard)
        # Each clip once, and once no clip: with another clip a question is one that was asked of that clip.
        assert asked == 3 + 1
        assert {prompt_of(body) for body in fake.heard} == {"In one word: What colour is it?"}
        scores = {arm: one.accuracy.overall.value for arm, one in found.arms.items() if one.accuracy}
        assert scores == {"model": 1.0, "blind": 0.0, "other_clip": 0.0}
        assert [one.clip for one in found.broken] == ["broken.mp4"]
        (out / "predictions.jsonl").unlink()  # as if it had been killed before anything was written
        (out / "quarantine.jsonl").unlink()
        again = evaluate_model(model, Asking(data, workers=0), out)
        assert len(fake.heard) == asked
        assert again.to_dict()["arms"] == found.to_dict()["arms"]
    told = json.loads((out / "spent.json").read_text())
    assert (told["calls"], told["tokens"], told["money"]) == (asked, 120 * asked, None)
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert KEY.encode() not in written


def test_a_server_is_shown_frames_in_another_order_and_one_of_them(data: Path, tmp_path: Path) -> None:
    pixels = np.stack([np.full((48, 64, 3), value, np.uint8) for value in (10, 60, 110, 160, 210, 250)])
    write_mp4(tmp_path / "red.mp4", pixels, 4)
    data.write_text(json.dumps([row("red", "red")]))
    with serving(lambda body: said(str(len(set(pictures_of(body)))), **usage())) as fake:
        asking = Asking(data, workers=0, controls=("shuffled_frames", "one_frame"))
        found = evaluate_model(described(tmp_path, fake), asking, tmp_path / "out")
    (verdict,) = found.verdicts
    assert verdict.predictions == {"model": "3", "shuffled_frames": "3", "one_frame": "1"}
    shown = [pictures_of(body) for body in fake.heard]
    assert sorted(shown[0]) == sorted(shown[1])
    assert shown[0] != shown[1]


def test_beside_answers_of_others(data: Path, tmp_path: Path) -> None:
    answers = tmp_path / "theirs.jsonl"
    answers.write_text("".join(json.dumps({"id": name, "answer": "red"}) + "\n" for name in COLOURS))
    with serving(looking) as fake:
        asking = Asking(data, controls=(), workers=0)
        found = evaluate_models([answers, described(tmp_path, fake)], asking, tmp_path / "out")
    assert list(found.evaluations) == ["theirs", "seer"]
    gain = found.differences[0].gain
    assert gain is not None
    assert gain.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "wrong", [lambda _: (400, {"error": {"message": "no"}}), lambda _: b"<html>", lambda _: said("")]
)
def test_what_is_not_answered_is_wrong_and_told(
    wrong: Callable[[Any], Any], data: Path, tmp_path: Path
) -> None:
    def mostly(body: dict[str, Any]) -> Any:
        return wrong(body) if colour_of(body) == "green" else looking(body)

    out = tmp_path / "out"
    with serving(mostly) as fake:
        found = evaluate_model(described(tmp_path, fake), Asking(data, controls=(), workers=0), out)
    scored = found.arms["model"].accuracy
    assert scored is not None
    assert scored.overall.value == pytest.approx(2 / 3)
    # An empty answer is one: only what failed has a reason.
    failed = out / "unanswered.jsonl"
    lines = failed.read_text().splitlines() if failed.exists() else []
    assert [json.loads(line)["clip"] for line in lines] == ([] if wrong({}) == said("") else ["green.mp4"])


def test_a_server_that_is_of_no_use_ends_it(data: Path, tmp_path: Path) -> None:
    with serving(lambda _: (401, {"error": {"message": "bad key"}})) as fake:
        model = described(tmp_path, fake)
        with pytest.raises(VidaptError, match="status 401"):
            evaluate_model(model, Asking(data, workers=0), tmp_path / "out")
    with serving(looking) as fake:  # and the same command goes on
        found = evaluate_model(described(tmp_path, fake), Asking(data, workers=0), tmp_path / "out")
    assert found.arms["model"].accuracy.overall.value == 1.0  # type: ignore[union-attr]


def test_a_budget_ends_it(data: Path, tmp_path: Path) -> None:
    price = {"price": {"input": 1.0, "output": 1.0}}
    with serving(looking) as fake:
        model = described(tmp_path, fake, endpoint=price, budget={"money": 0.000001})
        with pytest.raises(BudgetError):
            evaluate_model(model, Asking(data, workers=0), tmp_path / "out")
        assert fake.heard == []


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "endpoint"),
        ({"endpoint": {"url": "nowhere", "model": "a"}}, "no address"),
        ({"endpoint": {"url": "http://a", "model": "a"}, "prompt": "answer"}, "question"),
        ({"endpoint": {"url": "http://a", "model": "a"}, "prompt": "$question $more"}, "question"),
        (
            {"endpoint": {"url": "http://a", "model": "a"}, "frames": {"count": 0}},
            "greater than or equal",
        ),
        ({"endpoint": {"url": "http://a", "model": "a", "api_key": "x"}}, "looks like a key"),
        ({"endpoint": {"url": "http://a", "model": "a"}, "budget": {"money": 1}}, "price"),
        ([1], "describes no server"),
    ],
)
def test_a_file_that_describes_no_server(told: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "seer.yaml"
    path.write_text(json.dumps(told))
    assert is_remote(path)
    with pytest.raises(ConfigError, match=says):
        read_remote(path)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("count", (1, 1024), (0, 1025)),
        ("side", (32, 4096), (31, 4097)),
        ("quality", (1, 95), (0, 96)),
        ("give_up", (1, 1000), (0, 1001)),
    ],
)
def test_bounds(field: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    def told(value: int) -> dict[str, Any]:
        own = {field: value} if field == "give_up" else {"frames": {field: value}}
        return {"endpoint": {"url": "http://a", "model": "a"}, **own}

    for value in good:
        assert Remote.model_validate(told(value)).prompt == "$question"
    for value in bad:
        with pytest.raises(ValidationError):
            Remote.model_validate(told(value))
