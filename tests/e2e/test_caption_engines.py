"""Who writes captions: this process, a server that goes on from embeddings, a server that is shown frames."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from caption_tools import CLIPS, TOKENS, film_all, save_tiny_model
from served_tools import Fake, said, serving
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.inference import watch
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding
from vidapt.models.embeddings_only import refuse_more_than_embeddings

MADE = ["seconds", "created", "stamp", "mean_logprob", "logprobs", "key", "settings", "model_hash", "cost"]
PROMPTS = ["describe the video.", "what happens?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = film_all(tmp_path_factory.mktemp("filmed"))
    (folder / "4 empty.mp4").touch()
    return folder


class Continuing:
    """What vLLM does with `prompt_embeds`, by transformers' own class for the language model alone.

    Args:
        folder: The language model, as transformers saves it.
        tokenizer: Its tokenizer.
    """

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self._tokenizer = tokenizer

    def __call__(self, body: dict[str, Any]) -> Any:
        if body["prompt_embeds"] == "!":
            return 400, {"error": {"message": "no tensor"}}
        embeds = torch.load(
            io.BytesIO(base64.b64decode(body["prompt_embeds"], validate=True)), weights_only=True
        )
        assert embeds.ndim == 2
        assert body["temperature"] == 0.0
        made = self._model.generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones(1, len(embeds)),
            max_new_tokens=body["max_tokens"],
            do_sample=False,
            eos_token_id=body["stop_token_ids"],
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        ids = made.sequences[0]
        logs = [float(step[0].log_softmax(-1)[token]) for step, token in zip(made.logits, ids, strict=True)]
        ended = int(ids[-1]) in body["stop_token_ids"]
        choice = {
            "index": 0,
            "text": self._tokenizer.decode(ids, skip_special_tokens=True),
            "finish_reason": "stop" if ended else "length",
            "logprobs": {"token_logprobs": logs},
        }
        usage = {"prompt_tokens": len(embeds), "completion_tokens": len(ids)}
        return {"object": "text_completion", "choices": [choice], "usage": usage}


@pytest.fixture(scope="module")
def continuing(model: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fake]:
    folder = tmp_path_factory.mktemp("language") / "exported"
    done = CliRunner().invoke(app, ["export", str(model), "--to", "language", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    with serving(Continuing(folder, engine.tokenizer), path="/v1/completions") as fake:
        yield fake


def described(folder: Path, fake: Fake, **more: Any) -> Path:
    pytest.importorskip("openai")
    path = folder / "server.yaml"
    path.write_text(json.dumps({"endpoint": {"url": fake.url, "model": "tiny", "retries": 0, **more}}))
    return path


def rows_of(out: Path, *more: str) -> list[dict[str, Any]]:
    found = pq.read_table(out / "captions.parquet").drop_columns([one for one in MADE if one not in more])
    return list(found.to_pylist())


def caption(clips: Path, out: Path, *options: str, code: int = 0) -> str:
    asked = [part for prompt in PROMPTS for part in ("--prompt", prompt)]
    command = ["caption", str(clips), "--out", str(out), "--max-tokens", str(TOKENS), "--workers", "0"]
    done = CliRunner().invoke(app, [*command, *asked, *options])
    assert done.exit_code == code, done.output
    return done.output


def test_a_server_that_reads_embeddings_says_what_the_model_says(
    model: Path, clips: Path, continuing: Fake, tmp_path: Path
) -> None:
    server = described(tmp_path, continuing, price={"input": 1.0, "output": 10.0})
    caption(clips, tmp_path / "here", "--model", str(model))
    caption(clips, tmp_path / "there", "--model", str(model), "--engine", str(server))
    here, there = (rows_of(tmp_path / name, "logprobs") for name in ("here", "there"))
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.pop("logprobs") == pytest.approx(ours.pop("logprobs"), abs=1e-3)
    assert there == here
    assert len(continuing.heard) == CLIPS * len(PROMPTS) + 1, "and one to see whether it reads embeddings"
    first = next(row for row in rows_of(tmp_path / "there", "cost") if row["status"] == "done")
    assert first["cost"] > 0


def test_a_server_that_passes_over_embeddings_is_not_believed(
    model: Path, clips: Path, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        del body
        return {"choices": [{"text": "a red ball", "finish_reason": "stop"}], "usage": {"prompt_tokens": 0}}

    with serving(answer, path="/v1/completions") as fake:
        server = described(tmp_path, fake)
        told = caption(clips, tmp_path / "out", "--model", str(model), "--engine", str(server), code=2)
    assert "passes over prompt embeddings" in " ".join(told.split())
    assert "--enable-prompt-embeds" in told
    assert not (tmp_path / "out" / "captions.parquet").exists()


STRANGE: list[Any] = [
    {"text": "half a letter \ud83d"},
    {"text": "<video> <video>"},
    {"logprobs": {"token_logprobs": [10**400]}},
    {"logprobs": {"token_logprobs": [float("-inf"), float("inf"), "x", None]}},
    {"logprobs": {"token_logprobs": [1e308, 1e308]}},
]


def test_strange_replies_cost_their_rows_at_most(model: Path, clips: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    coming = iter(STRANGE * 20)

    def answer(body: dict[str, Any]) -> Any:
        if body["prompt_embeds"] == "!":
            return 400, {}
        return {"choices": [{"text": "a ball", "finish_reason": "stop", **next(coming)}], "usage": {}}

    with serving(answer, path="/v1/completions") as fake:
        server = described(tmp_path, fake)
        options = ["--model", str(model), "--engine", str(server)]
        caption(clips, tmp_path / "plain", *options)
        done = CliRunner().invoke(
            app, ["caption", str(clips), "--out", str(tmp_path / "json"), "--schema", str(schema), *options]
        )
    assert "twice the answer is not" in str(rows_of(tmp_path / "json")), done.output
    assert len(rows_of(tmp_path / "plain")) == CLIPS + 1
    done_ones = [row for row in rows_of(tmp_path / "plain", "logprobs") if row["status"] == "done"]
    assert len(done_ones) == CLIPS
    assert {one for row in done_ones for one in row["logprobs"]} == {None}


def test_no_more_frames_are_held_than_are_looked_at(
    engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_BATCH", 2)
    looked: list[int] = []
    see = engine._see_sound

    def listen(decoded: Any, beside: int) -> Any:
        looked.append(len(decoded))
        return see(decoded, beside)

    monkeypatch.setattr(engine, "_see_sound", listen)
    caption_store(Builtin(engine), clips, tmp_path / "out", decoding=Decoding(max_new_tokens=2), workers=0)
    assert sum(looked) == CLIPS + 1
    assert max(looked) == 2


def test_several_answers_take_as_many_places_as_several_questions(
    engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[int | None] = []
    several = engine.several

    def listen(*asked: Any, **more: Any) -> Any:
        places.append(more["places"] if "places" in more else asked[4])
        return several(*asked, **more)

    monkeypatch.setattr(engine, "several", listen)
    how: dict[str, Any] = {"decoding": Decoding(max_new_tokens=2), "workers": 0, "batch": 2}
    caption_store(Builtin(engine), clips, tmp_path / "n", n=3, **how)
    caption_store(Builtin(engine), clips, tmp_path / "prompts", prompts=["a", "b", "c"], **how)
    assert set(places) == {6}


def test_answers_of_a_server_are_not_paid_for_twice(
    model: Path, clips: Path, continuing: Fake, tmp_path: Path
) -> None:
    server = described(tmp_path, continuing)
    caption(clips, tmp_path / "out", "--model", str(model), "--engine", str(server))
    rows, asked = rows_of(tmp_path / "out"), len(continuing.heard)
    (job,) = (tmp_path / "out" / "jobs").glob("*-0")
    for made in [*job.glob("rows/*"), job / "done.json", tmp_path / "out" / "captions.parquet"]:
        made.unlink()  # as if the job had been killed before its only shard was in place
    caption(clips, tmp_path / "out", "--model", str(model), "--engine", str(server))
    assert rows_of(tmp_path / "out") == rows
    assert len(continuing.heard) == asked


def test_a_model_behind_a_server_is_shown_frames(clips: Path, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Any:
        parts = body["messages"][0]["content"]
        shown = [part for part in parts if part["type"] == "image_url"]
        if parts[-1]["text"] == PROMPTS[1] and sum(map(ord, shown[0]["image_url"]["url"])) % 3 == 0:
            return 400, {"error": {"message": "too hard"}}
        return said(f"{len(shown)} frames", usage={"prompt_tokens": 50, "completion_tokens": 2})

    with serving(answer) as fake:
        server = described(tmp_path, fake, concurrency=3)
        caption(clips, tmp_path / "out", "--model", str(server), "--batch", "2")
    rows = rows_of(tmp_path / "out")
    assert len(rows) == CLIPS + 1
    broken = [row for row in rows if row["status"] == "failed"]
    assert {row["error"] for row in broken} == {"BrokenClip", "Failed"}
    done = [row for row in rows if row["status"] == "done"]
    assert done
    for row in done:
        assert row["captions"] == ["6 frames"] * 2, "a clip of six frames has no eighth"
        assert (row["visual_tokens"], row["text_tokens"], row["tokens"]) == (None, 50, [2, 2])
        assert len(row["frames"]) == 6


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--engine", "nobody.yaml"], "there is no 'nobody.yaml'"),
        (["--engine", "vllm"], "there is no 'vllm'"),
        (["--n", "2", "--engine", "SERVER"], "one answer"),
    ],
)
def test_engines_that_cannot_be_are_refused(
    options: list[str], match: str, model: Path, clips: Path, tmp_path: Path
) -> None:
    server = described(tmp_path, Fake("http://127.0.0.1:9"))
    given = [str(server) if one == "SERVER" else one for one in options]
    prompt = ["--prompt", "what?"] if "--n" in options else []
    command = ["caption", str(clips), "--out", str(tmp_path / "out"), "--model", str(model), *given, *prompt]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert match in " ".join(done.output.split())


def test_models_of_which_more_than_embeddings_enters_are_refused(engine: Engine) -> None:
    refuse_more_than_embeddings(engine.model, "--engine")

    class Positions:
        axes = 3

    class Deep:
        depths, positions = (0, 1), Positions

    class Rows:
        depths, positions = (), Positions

    for other, match in ((Deep, "deeper layers"), (Rows, "rows and columns")):
        with pytest.raises(ConfigError, match=match):
            refuse_more_than_embeddings(other, "--engine")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), ValueError("a shape\nof no kind")])
@pytest.mark.parametrize("where", ["tower", "language"])
def test_whatever_a_library_finds_wrong_with_one_clip_costs_one_row(
    error: Exception, where: str, engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "7.mp4"
    if where == "tower":
        look = engine._look

        def fail(clips: Any) -> Any:
            if any(clip.path.name == wrong for clip, *_ in clips):
                raise error
            return look(clips)

        monkeypatch.setattr(engine, "_look", fail)
    else:
        answer = engine.answer

        def refuse(asked: Any, *rest: Any, **more: Any) -> Any:
            if any(seen[0].clip.path.name == wrong for seen, _ in asked):
                raise error
            return answer(asked, *rest, **more)

        monkeypatch.setattr(engine, "answer", refuse)
    done = caption_store(
        Builtin(engine), clips, tmp_path / "out", decoding=Decoding(max_new_tokens=4), workers=0
    )
    assert (done.captioned, done.failed) == (CLIPS - 1, 2)
    failed = {row["clip"]: row for row in rows_of(tmp_path / "out") if row["status"] == "failed"}
    row = failed[f"day 2/{wrong}"]
    assert row["error"] == ("BrokenClip" if where == "tower" else "ModelFailed")
    assert type(error).__name__ in row["reason"]
    assert "\n" not in row["reason"]


def test_a_device_that_has_failed_ends_the_job(
    engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError("an illegal memory access", 700)

    monkeypatch.setattr(engine, "answer", fail)
    with pytest.raises(torch.AcceleratorError):
        caption_store(Builtin(engine), clips, tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "captions.parquet").exists()
