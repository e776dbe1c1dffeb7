"""Servers that are slow, broken, strict or hostile, and what they cost."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from label_tools import (
    ANSWERS,
    KEY,
    KEY_ENV,
    beside,
    film,
    film_all,
    kind_of,
    label,
    lines,
    prompt_of,
    provenance,
    recipe,
    teacher,
    usage,
)
from served_tools import said, serving

from vidapt.chat import desk, served
from vidapt.errors import ConfigError, VidaptError

FIRST = 0.02
LATER = (429, {"error": "slow down"}, {"Retry-After": "0.3"})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_FIRST_S", FIRST)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    film(tmp_path / "clips" / "a.mp4", 1)
    return tmp_path / "clips"


class Then:
    """Answers with one thing after the other, the last one for ever."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.times = list(replies), list[float]()

    def __call__(self, body: dict[str, Any]) -> Any:
        self.times.append(time.monotonic())
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(body) if callable(reply) else reply


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_is_asked_again(status: int, clips: Path, tmp_path: Path) -> None:
    answer = Then((status, {"error": "later"}), (status, {}), teacher)
    with serving(answer) as fake:
        summary = label(recipe(fake), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.calls, summary.unsettled, len(fake.heard)) == (1, 1, 0, 3)
    assert answer.times[1] - answer.times[0] >= FIRST
    assert answer.times[2] - answer.times[1] >= 2 * FIRST


def test_a_pause_that_a_server_asks_for_holds_for_all_questions(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 3)

    def limited(body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return LATER if len(times) == 1 else teacher(body)

    times: list[float] = []
    with serving(limited) as fake:
        summary = label(recipe(fake, endpoint={"concurrency": 1}), clips, tmp_path / "out.jsonl")
    assert summary.labelled == 3
    assert times[1] - times[0] >= 0.3


def test_a_longer_pause_than_there_is_patience_for_ends_the_job(clips: Path, tmp_path: Path) -> None:
    with (
        serving(lambda _: LATER) as fake,
        pytest.raises(VidaptError, match="patience_s"),
    ):
        label(recipe(fake, endpoint={"patience_s": 0.1}), clips, tmp_path / "out.jsonl")
    assert len(fake.heard) == 1


def test_a_broken_connection_may_have_been_paid_for(clips: Path, tmp_path: Path) -> None:
    with serving(Then(None, teacher)) as fake:
        summary = label(recipe(fake), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.calls, summary.unsettled) == (1, 1, 1)
    again = label(recipe(fake), clips, tmp_path / "out.jsonl")
    assert (again.unsettled, again.money) == (1, summary.money)


def test_a_server_that_hangs_costs_its_time_and_a_row(clips: Path, tmp_path: Path) -> None:
    hanging = threading.Event()

    def hang(_: dict[str, Any]) -> Any:
        hanging.wait(10)

    with serving(hang) as fake:
        summary = label(
            recipe(fake, endpoint={"timeout_s": 0.3, "retries": 0}), clips, tmp_path / "out.jsonl"
        )
        hanging.set()
    assert (summary.labelled, summary.broken, summary.unsettled) == (0, 1, 1)
    assert "no answer within 0.3 s" in lines(beside(tmp_path / "out.jsonl", "quarantine"))[0]["reason"]


def test_a_server_that_drips_is_hung_up_on(clips: Path, tmp_path: Path) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(400):
            yield b" "
            time.sleep(0.05)

    began = time.monotonic()
    with serving(lambda _: drip()) as fake:
        settings = recipe(fake, endpoint={"timeout_s": 0.4, "retries": 0})
        assert label(settings, clips, tmp_path / "out.jsonl").broken == 1
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("status", [401, 402])
def test_a_key_that_is_not_taken_ends_the_job_at_once(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    clips = film_all(tmp_path / "clips", 4)
    message = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    with serving(lambda _: (status, message)) as fake:
        settings = recipe(fake, endpoint={"key_env": KEY_ENV, "concurrency": 1})
        with pytest.raises(VidaptError) as error:
            label(settings, clips, tmp_path / "out.jsonl")
    assert len(fake.heard) == 1
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(error.value)
    assert (KEY_ENV if status != 402 else "pay what is owed") in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()
    with serving(teacher) as fake:
        assert label(recipe(fake), clips, tmp_path / "out.jsonl").labelled == 4


def test_a_key_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    clips = film_all(tmp_path / "clips", 3)
    answer = Then(
        (500, {"error": f"Bearer {KEY}"}),
        said(f"The key is {KEY}.", **usage()),
        (400, {"error": {"message": f"what is {KEY}"}}),
        teacher,
    )
    told: list[str] = []
    with serving(answer) as fake:
        settings = recipe(fake, endpoint={"key_env": KEY_ENV, "concurrency": 1})
        label(settings, clips, tmp_path / "out.jsonl", lambda *all_: told.append(str(all_)))
    assert all(KEY not in one for one in told)
    written = [file for file in tmp_path.glob("*") if file.is_file()]
    assert {"out.jsonl", "out.jsonl.replies.jsonl", "out.jsonl.quarantine.jsonl"} <= {f.name for f in written}
    assert all(KEY.encode() not in file.read_bytes() for file in written)
    assert "[key]" in (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize(
    "refusal",
    [
        {"choices": [{"message": {"content": None, "refusal": "I cannot."}}], **usage()},
        {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}], **usage()},
        (400, {"error": {"code": "data_inspection_failed", "message": "inappropriate"}}),
    ],
)
def test_a_refusal_costs_one_row_and_is_not_repeated(refusal: Any, tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 3)
    with serving(Then(refusal, teacher)) as fake:
        settings = recipe(fake, endpoint={"concurrency": 1}, give_up=1)
        summary = label(settings, clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.broken, len(fake.heard)) == (2, 1, 3)


def test_json_that_cannot_be_read_is_asked_for_once_more_with_what_is_wrong(
    clips: Path, tmp_path: Path
) -> None:
    wrong = [said('{"facts": [{"subject": "", "predicate": "x"}]}'), said("no idea")]

    def answer(body: dict[str, Any]) -> Any:
        kind = kind_of(body)
        if kind == "facts" and len(seen) < 1:
            seen.append(body)
            return wrong[0]
        if kind == "write" and "could not be used" not in prompt_of(body):
            return said('{"clauses": [{"text": "It rains.", "facts": ["f9"]}]}')
        return teacher(body)

    seen: list[Any] = []
    with serving(answer) as fake:
        summary = label(recipe(fake, "facts"), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, len(fake.heard)) == (1, 4)
    repairs = [prompt_of(body) for body in fake.heard if "could not be used" in prompt_of(body)]
    assert "facts.0.subject: is empty" in repairs[0]
    assert "clause 1 names 'f9', which is not listed" in repairs[1]
    assert "It rains." in repairs[1]
    steps = [call["step"] for call in provenance(tmp_path / "out.jsonl")[0]["calls"]]
    assert steps == ["facts 1", "facts 1 again", "write", "write again"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no idea", "it holds no JSON object"),
        ('{"facts": ' + "[" * 100_000, "it "),
        ('{"facts": [{"subject": "a", "predicate": "b", "start_s": NaN}]}', "facts.0.start_s"),
        ('{"facts": []}', "no fact is stated of it"),
        ("", "it holds no JSON object"),
    ],
)
def test_json_that_stays_unreadable_costs_the_clips_row(
    text: str, reason: str, clips: Path, tmp_path: Path
) -> None:
    with serving(lambda _: said(text, **usage())) as fake:
        summary = label(recipe(fake, "facts"), clips, tmp_path / "out.jsonl")
        assert (summary.labelled, summary.broken) == (0, 1)
        (broken,) = lines(beside(tmp_path / "out.jsonl", "quarantine"))
        assert reason in broken["reason"]
        asked = len(fake.heard)
        label(recipe(fake, "facts"), clips, tmp_path / "out.jsonl")
        assert len(fake.heard) == asked, "the same question is not paid for twice"


def test_text_that_no_label_can_hold_costs_the_clips_row(clips: Path, tmp_path: Path) -> None:
    with serving(lambda _: said("a <video> in it", **usage())) as fake:
        assert label(recipe(fake), clips, tmp_path / "out.jsonl").broken == 1
    assert "mark" in lines(beside(tmp_path / "out.jsonl", "quarantine"))[0]["reason"]


@pytest.mark.parametrize("status", [200, 400])
def test_an_endless_reply_is_not_read_to_its_end(
    status: int, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MOST_BYTES", 20_000)
    with serving(lambda _: (status, b"x" * 400_000)) as fake:
        label(recipe(fake, endpoint={"retries": 0}), clips, tmp_path / "out.jsonl")
    assert "longer than 20000 bytes" in lines(beside(tmp_path / "out.jsonl", "quarantine"))[0]["reason"]


def test_what_is_compressed_is_not_unpacked(clips: Path, tmp_path: Path) -> None:
    packed = gzip.compress(b" " * 1_000_000)
    with serving(lambda _: (200, packed, {"Content-Encoding": "gzip"})) as fake:
        label(recipe(fake, endpoint={"retries": 0}), clips, tmp_path / "out.jsonl")
    assert "compressed" in lines(beside(tmp_path / "out.jsonl", "quarantine"))[0]["reason"]


@pytest.mark.parametrize(
    "nonsense", [b"{", b"[]", {"choices": []}, {"choices": [{"message": {"content": 7}}]}, (302, {})]
)
def test_nonsense_costs_a_row(nonsense: Any, clips: Path, tmp_path: Path) -> None:
    with serving(lambda _: nonsense) as fake:
        summary = label(recipe(fake, endpoint={"retries": 0}), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.broken, len(fake.heard)) == (0, 1, 1)


def test_no_more_questions_are_under_way_than_may_be(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 9)
    now, most, lock = [0], [0], threading.Lock()

    def counting(body: dict[str, Any]) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.3)
        with lock:
            now[0] -= 1
        return teacher(body)

    with serving(counting) as fake:
        label(recipe(fake, endpoint={"concurrency": 3}), clips, tmp_path / "out.jsonl")
    assert 2 <= most[0] <= 3


@pytest.mark.parametrize(
    ("limits", "apart"),
    [({"requests_per_minute": 600.0}, 0.1), ({"tokens_per_minute": 6000.0}, 0.2), ({}, 0.0)],
)
def test_questions_begin_no_faster_than_they_may(limits: dict[str, float], apart: float) -> None:
    async def begun() -> list[float]:
        lane = desk._Lane(served.Served(recipe("http://x", endpoint=limits).teachers[0]))  # type: ignore[arg-type]
        times = []
        for _ in range(3):
            await lane.turn(20, lambda: None)
            times.append(time.monotonic())
        return times

    first, second, third = asyncio.run(begun())
    assert second - first >= apart * 0.99
    assert third - second >= apart * 0.99
    assert third - first < 2 * apart + 5


def test_a_server_that_is_gone_ends_the_job_after_some_questions(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 6)
    with pytest.raises(VidaptError, match="3 questions in a row") as error:
        label(
            recipe("http://127.0.0.1:9", endpoint={"retries": 0, "concurrency": 1}, give_up=3),
            clips,
            tmp_path / "out.jsonl",
        )
    assert "cannot be reached" in str(error.value)
    with serving(teacher) as fake:
        summary = label(recipe(fake), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.broken, summary.unsettled) == (6, 0, 0)


def test_a_server_without_schemas_can_be_asked_in_words(clips: Path, tmp_path: Path) -> None:
    for way, sent in (("object", {"type": "json_object"}), ("prompt", None)):
        with serving(teacher) as fake:
            label(recipe(fake, "facts", endpoint={"json_by": way}), clips, tmp_path / f"{way}.jsonl")
        assert [body.get("response_format") for body in fake.heard] == [sent, sent]


def test_settings_of_a_server_are_sent(clips: Path, tmp_path: Path) -> None:
    own = {"limit": "max_completion_tokens", "extra": {"top_k": 5}}
    with serving(teacher) as fake:
        settings = recipe(fake, endpoint=own, decoding={"temperature": None, "max_tokens": 77, "seed": 3})
        label(settings, clips, tmp_path / "out.jsonl")
    (body,) = fake.heard
    assert (body["max_completion_tokens"], body["top_k"], body["seed"]) == (77, 5, 3)
    assert not {"temperature", "top_p"} & body.keys()
    with serving(teacher) as fake:
        settings = recipe(fake, endpoint={"seeded": False}, decoding={"temperature": 0.5, "top_p": 0.9})
        label(settings, clips, tmp_path / "other.jsonl")
    (body,) = fake.heard
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 1024)
    assert "seed" not in body


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("2.5", 2.5, 2.5),
        ("-3", 0, 0),
        (100_000, 90_000, 100_001),
        (-100, 0, 0),
        ("soon", None, None),
        ("inf", None, None),
        (None, None, None),
    ],
)
def test_how_long_a_server_asks_to_wait(
    given: str | int | None, least: float | None, most: float | None
) -> None:
    if isinstance(given, int):  # a date, so many seconds from now
        given = email.utils.formatdate(time.time() + given, usegmt=True)
    found = served._wait({} if given is None else {"retry-after": given})
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


def test_without_the_client_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ConfigError, match="teach"):
        served.Served(recipe("http://x").teachers[0])  # type: ignore[arg-type]


def test_json_answers_are_found_among_words() -> None:
    from vidapt.json_replies import parsed
    from vidapt.teaching.shapes import FactsAnswer

    text = "Here it is:\n```json\n" + json.dumps(json.loads(ANSWERS["facts"])) + "\n```\nDone."
    assert len(parsed(text, FactsAnswer).facts) == 2
