"""Answers of a served model through OpenAI's own client: whole, in pieces, in JSON, together; and vectors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
from PIL import Image
from serve_tools import CHAT, KEY, OTHER, Up, data_url, eventually, film_in, shown, up

from vidapt.inference.engine import Engine
from vidapt.models.decoding import Decoding
from vidapt.nouns import Turn
from vidapt.serving.terms import Terms

DESCRIBE = "describe the video."


@pytest.fixture(scope="module")
def served() -> Iterator[Up]:
    terms = Terms(workers=1, gather_s=0.05, kept_bytes=1 << 16)
    with up(terms, ("home=billiards-home", "compare=billiards-clip")) as found:
        yield found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_in(tmp_path_factory.mktemp("serve"))


def said(served: Up, content: Any, **more: Any) -> str:
    messages: Any = [{"role": "user", "content": content}]
    made = served.client.chat.completions.create(model="home", messages=messages, **more)
    return made.choices[0].message.content or ""


def engine_of(served: Up) -> Engine:
    return served.house.tables["home"].engine


def test_models_are_listed(served: Up) -> None:
    assert [model.id for model in served.client.models.list()] == ["home", "compare"]
    assert served.client.models.retrieve("home").id == "home"
    with pytest.raises(openai.NotFoundError):
        served.client.models.retrieve("hom")


def test_an_answer_is_the_models_own(served: Up, film: Path) -> None:
    alone = engine_of(served).ask(film, DESCRIBE)
    assert said(served, shown(data_url(film), DESCRIBE)) == alone
    assert len(alone.split()) > 3


def test_pieces_add_up_to_the_whole(served: Up, film: Path) -> None:
    messages: Any = [{"role": "user", "content": shown(data_url(film), DESCRIBE)}]
    ask = served.client.chat.completions.create
    whole = ask(model="home", messages=messages)
    events = list(ask(model="home", messages=messages, stream=True, stream_options={"include_usage": True}))
    pieces = [one.choices[0].delta.content or "" for one in events if one.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(map(bool, pieces)) > 5
    assert events[-1].usage == whole.usage
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"


def test_an_answer_is_cut_where_it_was_asked_to_be(served: Up, film: Path) -> None:
    made = served.ask(shown(data_url(film), DESCRIBE), max_tokens=3).json()
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] == 3


def test_company_changes_no_answer(served: Up, film: Path) -> None:
    """Long and short, seen and unseen, sampled and not: each is what it is alone."""
    asked: list[tuple[Any, dict[str, Any]]] = [
        (shown(data_url(film), DESCRIBE), {}),
        (shown(data_url(film), "how many balls are there?"), {"max_tokens": 1}),
        ("what colour is the ball?", {}),
        (shown(data_url(film), DESCRIBE), {"temperature": 1.0, "seed": 5, "max_tokens": 9}),
        (shown(data_url(film), DESCRIBE), {"temperature": 1.0, "seed": 6, "max_tokens": 12}),
    ]
    alone = [said(served, content, **more) for content, more in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda one: said(served, one[0], **one[1]), asked))
    assert together == alone
    assert alone[3] != alone[4]
    counts = served.get("/metrics").text
    batches, batched = (_count(counts, f"vidapt_batch{end}_total") for end in ("es", "ed"))
    assert batched > batches


def _count(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{"))


def test_a_conversation_is_read_with_what_was_said(served: Up, film: Path) -> None:
    turns: Any = [
        {"role": "system", "content": "you are short."},
        {"role": "user", "content": shown(data_url(film), "how many balls are there?")},
        {"role": "assistant", "content": "two."},
        {"role": "user", "content": "which colour?"},
    ]
    made = served.client.chat.completions.create(model="home", messages=turns, max_tokens=8)
    engine = engine_of(served)
    ours = [
        Turn("system", "you are short."),
        Turn("user", "<video>how many balls are there?"),
        Turn("assistant", "two."),
        Turn("user", "which colour?"),
    ]
    seen = list(engine._seen(film))
    ((alone,),) = engine.answer([(seen, [ours])], Decoding(max_new_tokens=8))
    assert made.choices[0].message.content == engine.text(alone)
    assert made.usage is not None
    assert made.usage.prompt_tokens == len(engine.prompt(seen, ours)[0])


def test_a_picture_is_seen(served: Up, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    Image.new("RGB", (64, 64), "red").save(path)
    assert said(served, shown(data_url(path, "image/png"), kind="image")) == engine_of(served).ask(
        path, "how many balls are there?"
    )


def test_files_are_ones_own(served: Up, film: Path) -> None:
    kept = served.client.files.create(file=film, purpose="user_data")
    assert kept.bytes == film.stat().st_size
    assert [one.id for one in served.client.files.list()] == [kept.id]
    part = {"type": "file", "file": {"file_id": kept.id}}
    content = [part, {"type": "text", "text": DESCRIBE}]
    assert said(served, content) == said(served, shown(data_url(film), DESCRIBE))
    assert served.get(f"/v1/files/{kept.id}", OTHER).status_code == 404
    assert served.get("/v1/files", OTHER).json()["data"] == []
    body = {"model": "home", "messages": [{"role": "user", "content": content}]}
    assert served.post(CHAT, body, authorization=f"Bearer {OTHER}").status_code == 404
    too_much = served.web.post(
        "/v1/files",
        files={"file": ("b.mp4", bytes(1 << 16))},
        data={"purpose": "user_data"},
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert too_much.status_code == 429
    served.client.files.delete(kept.id)
    assert served.ask(content).status_code == 404


class Scripted:
    """An engine's `text` that says what it is told to, in order."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), 0

    def __call__(self, _: object) -> str:
        self.asked += 1
        return self.texts.pop(0)


SCHEMA = {"type": "object", "properties": {"balls": {"type": "integer"}}, "required": ["balls"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("texts", "status"),
    [
        (('Here: {"balls": 2}',), 200),
        (("two", '```json\n{"balls": 2}\n```'), 200),
        (('{"balls": "2"}', '{"balls": 2} or so'), 200),
        (("two", '{"balls": 2.5}'), 422),
    ],
)
def test_json_is_what_was_asked_for_or_refused(
    served: Up, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, ...], status: int
) -> None:
    script = Scripted(*texts)
    monkeypatch.setattr(engine_of(served), "text", script)
    made = served.ask("how many?", response_format=WANTED)
    assert (made.status_code, script.asked) == (status, len(texts))
    if status == 200:
        assert json.loads(made.json()["choices"][0]["message"]["content"]) == {"balls": 2}


def test_json_comes_in_one_piece(served: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_of(served), "text", Scripted("two", '{"balls": 2}'))
    made = served.ask("how many?", response_format=WANTED, stream=True)
    events = [json.loads(line[6:]) for line in made.text.split("\n\n") if line.startswith("data: {")]
    pieces = [one["choices"][0]["delta"].get("content", "") for one in events]
    assert "".join(pieces) == '{"balls": 2}'


def test_one_bad_question_costs_the_others_nothing(served: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(served)
    plain = engine.begun

    def fails(seen: Any, turns: Any, *more: Any) -> Any:
        if any("bad" in turn.text for turn in turns):
            raise RuntimeError("secret: /home/x")
        return plain(seen, turns, *more)

    monkeypatch.setattr(engine, "begun", fails)
    questions = [f"how many {word} balls?" for word in ("red", "blue", "bad", "green", "white")]
    with ThreadPoolExecutor(5) as threads:
        made = list(threads.map(served.ask, questions))
    assert [one.status_code for one in made] == [200, 200, 500, 200, 200]
    assert "secret" not in made[2].text
    assert eventually(lambda: any('"fault": "RuntimeError at ' in line for line in served.log))
    assert not any("secret" in line for line in served.log)
    assert _count(served.get("/metrics").text, "vidapt_failures_total") >= 1


def test_vectors_are_those_of_the_model(served: Up, film: Path) -> None:
    texts = ["the white ball hits the red ball", "no ball"]
    made = served.client.embeddings.create(model="compare", input=texts)  # in base64, as it asks by itself
    body = {"model": "compare", "input": [*texts, shown(data_url(film))[0]]}
    plain = served.post("/v1/embeddings", body).json()
    for index in range(2):
        np.testing.assert_allclose(made.data[index].embedding, plain["data"][index]["embedding"], rtol=1e-6)
    rows = np.array([row["embedding"] for row in plain["data"]])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    matcher = served.house.vectors["compare"]._matcher
    own = matcher.scores(next(iter(matcher.watch([_clip(film)], 0))), texts)
    np.testing.assert_allclose(rows[:2] @ rows[2], own, atol=1e-5)
    assert served.post("/v1/embeddings", {"model": "home", "input": "a"}).status_code == 400
    assert (
        served.post(CHAT, {"model": "compare", "messages": [{"role": "user", "content": "a"}]}).status_code
        == 400
    )


def _clip(path: Path) -> Any:
    from vidapt.nouns import Clip

    return Clip("c", path)


def test_a_question_joins_those_that_are_being_answered(served: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short answer that is asked for in the middle of a long one does not wait for its end."""
    running, begun = served.house.tables["home"]._running, threading.Event()
    step = running.step

    def slowly() -> Any:
        begun.set()
        threading.Event().wait(0.01)
        return step()

    monkeypatch.setattr(running, "step", slowly)
    monkeypatch.setattr(running, "_stops", frozenset())
    with ThreadPoolExecutor(1) as thread:
        long = thread.submit(served.ask, "how many red balls?", max_tokens=200)
        assert begun.wait(10)
        short = served.ask("how many blue balls?", max_tokens=2)
        assert short.json()["usage"]["completion_tokens"] == 2
        assert not long.done()
        assert long.result().json()["usage"]["completion_tokens"] == 200
    alone = served.ask("how many red balls?", max_tokens=200)
    assert alone.json()["choices"][0]["message"] == long.result().json()["choices"][0]["message"]


@pytest.mark.parametrize("where", ["step", "join"])
def test_where_a_model_fails_at_one_of_several_the_others_are_answered_all_the_same(
    where: str, served: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does without memory: nobody is told twice, and the fault is of the one that is alone with it."""
    table = served.house.tables["home"]
    running = table._running
    plain = getattr(running, where)

    def fails(*more: Any) -> Any:
        texts = [job.turns[-1].text for job, _ in table._inside.values()]
        if where == "join" and running.alive and len(more[1]):
            running.clear()
            raise torch.OutOfMemoryError("no room to join")
        if where == "step" and (len(texts) > 2 or any("bad" in text for text in texts)):
            raise torch.OutOfMemoryError("no room")
        return plain(*more)

    monkeypatch.setattr(running, where, fails)
    questions = [f"how many {word} balls?" for word in ("red", "blue", "bad", "green", "white")]
    with ThreadPoolExecutor(5) as threads:
        made = list(threads.map(served.ask, questions))
    expected = [200, 200, 500 if where == "step" else 200, 200, 200]
    assert [one.status_code for one in made] == expected
    monkeypatch.undo()
    for question, one in zip(questions, made, strict=True):
        if one.status_code == 200:
            said = served.ask(question).json()["choices"][0]["message"]
            assert one.json()["choices"][0]["message"] == said


def test_who_leaves_frees_the_place(served: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both while an answer is waited for and while it is written."""
    running, began, steps = served.house.tables["home"]._running, threading.Event(), 0
    step = running.step

    def slowly() -> Any:
        nonlocal steps
        steps += 1
        began.set()
        threading.Event().wait(0.05)
        return step()

    monkeypatch.setattr(running, "step", slowly)
    monkeypatch.setattr(running, "_stops", frozenset())
    for stream in (False, True):
        began.clear()
        steps = 0
        messages: Any = [{"role": "user", "content": DESCRIBE}]
        client = served.client.with_options(timeout=0.6 if not stream else 20)
        if stream:
            answer = client.chat.completions.create(
                model="home", messages=messages, max_tokens=1000, stream=True
            )
            next(iter(answer))
            began.wait(10)
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="home", messages=messages, max_tokens=1000)
        assert eventually(lambda: served.door.inside == 0)
        before = steps
        assert eventually(lambda: served.house.tables["home"].waiting == 0)
        assert steps <= before + 3
    assert [json.loads(line)["status"] for line in served.log[-2:]] == [499, 200]


def test_the_log_holds_nothing_that_was_said(served: Up) -> None:
    served.ask("where is the zebra?")
    served.post("/zebra?zebra=1", {"zebra": 1})
    assert eventually(lambda: '"other"' in served.log[-1])
    assert not any("zebra" in line for line in served.log)
    assert json.loads(served.log[-2])["key"] == "ann"
