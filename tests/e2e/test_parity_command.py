"""`vidapt parity`: a published model here and a server that reads the same, or something else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
from PIL import Image
from qwen2_vl_tools import oracle_of, save
from served_tools import Fake, said, serving
from test_qwen2_vl_folders import bytes_tokenizer
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.measure.parity import Asked, Parity, compare
from vidapt.measure.served import Server
from vidapt.nouns import Clip
from vidapt.video import write_mp4

BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
AFTER = "<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
IMAGE_PAD, VIDEO_PAD = 260, 261
QUESTIONS = ("What happens?", "Who wins?")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = bytes_tokenizer()
    oracle = oracle_of(vocabulary=len(tokenizer), image_token_id=IMAGE_PAD, video_token_id=VIDEO_PAD)
    folder = save(oracle, tmp_path_factory.mktemp("served") / "model")
    tokenizer.save_pretrained(folder)
    write_mp4(folder.parent / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    Image.fromarray(tools.film(1, 40, 56).numpy()[0]).save(folder.parent / "b.png")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return load(folder)


@pytest.fixture(scope="module")
def media(folder: Path) -> dict[str, Path]:
    return {"video_url": folder.parent / "a.mp4", "image_url": folder.parent / "b.png"}


Change = Callable[[dict[str, Any]], Any]


def as_is(reply: dict[str, Any]) -> dict[str, Any]:
    return reply


def twin(engine: Engine, media: dict[str, Path], change: Change = as_is, around: str = "") -> Any:
    """Answers as the engine does, and reads the template that was published, with an extra mark around."""
    tokenizer = engine.tokenizer
    counts: dict[str, int] = {}

    def answer(body: dict[str, Any]) -> Any:
        medium, text = body["messages"][0]["content"]
        kind, question = medium["type"], text["text"]
        path = media[kind]
        (seen,) = engine._seen(path)
        counts.setdefault(kind, len(seen.tokens))
        pads = [VIDEO_PAD if kind == "video_url" else IMAGE_PAD] * counts[kind]
        outer = ("<|vision_start|>", "<|vision_end|>") if around and kind == "video_url" else ("", "")
        ids = tokenizer(BEFORE + outer[0]).input_ids + pads
        ids += tokenizer(outer[1] + AFTER.format(question=question)).input_ids
        said_here = engine.ask(path, question, max_new_tokens=body["max_tokens"])
        return change(said(said_here, prompt_token_ids=ids))

    return answer


def command(folder: Path, media: dict[str, Path], fake: Fake, *more: str) -> Any:
    asked = [part for path in media.values() for part in ("--clip", str(path))]
    asked += [part for question in QUESTIONS for part in ("--question", question)]
    given = ["parity", str(folder), "--against", fake.url, *asked, "--max-tokens", "8", *more]
    return CliRunner().invoke(app, given)


def test_a_server_that_reads_and_says_the_same_is_the_same(
    folder: Path, engine: Engine, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    with serving(twin(engine, media)) as fake:
        done = command(folder, media, fake, "--key-env", "MY_KEY")
        told = command(folder, media, fake, "--json")
    assert done.exit_code == 0, done.output
    assert "4 of 4 questions are the same, 4 of them token by token" in done.stdout
    assert "s3cret" not in done.output
    assert fake.headers[0]["Authorization"] == "Bearer s3cret"
    found = json.loads(told.stdout)
    assert (found["same"], found["different"], found["not_compared"], found["first"]) == (4, 0, 0, None)
    assert [row["compared"] for row in found["rows"]] == ["tokens"] * 4
    assert all(row["ours"] == row["theirs"] for row in found["rows"])


def test_two_marks_around_a_video_are_found_first(
    folder: Path, engine: Engine, media: dict[str, Path]
) -> None:
    with serving(twin(engine, media, around="outer")) as fake:
        done = command(folder, media, fake)
        told = command(folder, media, fake, "--json")
    assert done.exit_code == told.exit_code == 1
    first = done.stdout.splitlines()[:3]
    count = len(engine.tokenizer(BEFORE).input_ids)
    assert first[0] == f"first difference, a.mp4, 'What happens?': prompt differs from token {count} on:"
    assert "<|vision_start|> [<" in first[1]
    assert "visual tokens>] <|vision_end|>What" in first[1]
    assert "<|vision_start|> [258 '<|vision_start|>'] <" in first[2]
    found = json.loads(told.stdout)
    assert (found["same"], found["different"]) == (2, 2), "stills are read as they were"
    assert found["first"]["difference"]["kind"] == "prompt"


def without_ids(reply: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name != "prompt_token_ids"}


def test_without_ids_answers_are_compared(engine: Engine, media: dict[str, Path]) -> None:
    asked = [Asked((Clip(path.name, path),), QUESTIONS[0]) for path in media.values()]
    with serving(twin(engine, media, without_ids)) as fake:
        same = compare(engine, Server(fake.url), asked, max_tokens=8)
    assert [(row.compared, row.verdict) for row in same.rows] == [("answers", "same")] * 2
    assert same.status == 0
    with serving(lambda body: said("something else")) as fake:
        other = compare(engine, Server(fake.url), asked, max_tokens=8)
    assert [row.verdict for row in other.rows] == ["answer differs"] * 2
    assert other.status == 1
    assert "answer differs from letter" in other.headline()


def test_a_longer_run_of_visual_tokens_differs(engine: Engine, media: dict[str, Path]) -> None:
    def longer(reply: dict[str, Any]) -> dict[str, Any]:
        ids = reply["prompt_token_ids"]
        at = ids.index(VIDEO_PAD)
        return {**reply, "prompt_token_ids": [*ids[:at], VIDEO_PAD, *ids[at:]]}

    with serving(twin(engine, media, longer)) as fake:
        found = compare(engine, Server(fake.url), [Asked((Clip("a", media["video_url"]),), "what?")])
    difference = found.rows[0].difference
    assert difference is not None
    (seen,) = engine._seen(media["video_url"])
    assert f"[<{len(seen.tokens)} visual tokens>]" in difference.ours
    assert f"[<{len(seen.tokens) + 1} visual tokens>]" in difference.theirs


def ask_many(
    engine: Engine, media: dict[str, Path], answer: Any, count: int = 6, timeout: float = 30
) -> Parity:
    clip = Clip("a", media["video_url"])
    with serving(answer) as fake:
        server = Server(fake.url, timeout_s=timeout)
        return compare(engine, server, [Asked((clip,), f"{n}?") for n in range(count)], max_tokens=4)


def test_a_server_that_refuses_once_costs_one_row(engine: Engine, media: dict[str, Path]) -> None:
    good = twin(engine, media)

    def moody(body: dict[str, Any]) -> Any:
        if "2?" in str(body["messages"][0]["content"][1]):
            return 500, {"error": {"message": "no\x1b[2J room"}}
        return good(body)

    found = ask_many(engine, media, moody)
    assert [row.verdict for row in found.rows] == ["same", "same", "not compared", "same", "same", "same"]
    assert found.rows[2].failed == "it refuses with status 500: no\\x1b[2J room"
    assert found.status == 2


@pytest.mark.parametrize("death", ["hangs up", "hangs"])
def test_a_server_that_dies_is_not_waited_for_forever(
    engine: Engine, media: dict[str, Path], death: str
) -> None:
    good, count = twin(engine, media), 0

    def dying(body: dict[str, Any]) -> Any:
        nonlocal count
        count += 1
        if count < 2:
            return good(body)
        return time.sleep(3) if death == "hangs" else None

    found = ask_many(engine, media, dying, timeout=1.5 if death == "hangs" else 30)
    assert [row.verdict for row in found.rows] == ["same", *["not compared"] * 5]
    assert count == 4, "three times is enough"
    assert found.rows[-1].failed == "not asked: the server gave no reply 3 times in a row"


def test_clips_that_are_broken_or_cannot_be_sent_cost_their_rows(
    engine: Engine, media: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    film = media["video_url"]
    clips = [Clip("empty", tmp_path / "empty.mp4"), Clip("part", film, 0.5, 2.0), Clip("a", film)]
    with serving(twin(engine, media)) as fake:
        found = compare(engine, Server(fake.url), [Asked((clip,), "what?") for clip in clips], max_tokens=4)
    assert "it is empty" in found.rows[0].failed
    assert "only whole files can be sent" in found.rows[1].failed
    assert found.rows[2].verdict == "same"


def test_labels_are_asked_question_by_question(
    folder: Path, engine: Engine, media: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        {"video": str(media["video_url"]), "question": question, "answer": "a"}
        for question in (*QUESTIONS, "Why?")
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = [
        "parity",
        str(folder),
        "--data",
        str(tmp_path / "labels.jsonl"),
        "--limit",
        "2",
        "--max-tokens",
        "4",
    ]
    with serving(twin(engine, media)) as fake:
        done = CliRunner().invoke(app, [*given, "--against", fake.url, "--json"])
    assert done.exit_code == 0, done.output
    assert [row["question"] for row in json.loads(done.stdout)["rows"]] == list(QUESTIONS)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--against", "nowhere"], "is no address of a server"),
        (["--against", "http://127.0.0.1:9", "--clip", "a.mp4"], "no question about a clip is asked"),
        (["--against", "http://127.0.0.1:9", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["--against", "http://127.0.0.1:9", "--clip", "a", "--question", "b"], "cannot be reached"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_model_is_opened(more: list[str], told: str) -> None:
    refused = CliRunner().invoke(app, ["parity", "no-such-model", *more])
    assert refused.exit_code == 2
    assert told in refused.stderr


def test_what_is_compared_is_what_the_model_reads(engine: Engine, media: dict[str, Path]) -> None:
    for paths in ([media["video_url"]], list(media.values())):
        seen = engine._seen(paths)
        ids, visual = engine.prompt(seen, "what?")
        packed, _ = engine.answered(seen, [("what?", "a ball")])
        assert packed.ids[0, : len(ids)].tolist() == ids
        assert packed.slots[0, : len(ids)].tolist() == visual
        assert packed.ids.shape[1] > len(ids)
