"""What is longer than a language model reads is refused before work, with its tokens and the limit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_tools import blueprint, recipe, silent, stage, tokenizer, video_lm, write_clips
from transformers import AutoConfig

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.errors import BrokenClip, BudgetError
from vidapt.inference.engine import Engine
from vidapt.inference.matchers import By, LanguageMatcher
from vidapt.measure.evaluate import evaluate
from vidapt.models.decoding import Decoding
from vidapt.models.reach import Reach, reach_of, refuse_packed
from vidapt.nouns import Clip, Sample, Turn
from vidapt.training import footage
from vidapt.training.run import train
from vidapt.video import write_mp4

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 64, "vocab_size": 300}


def language(**changes: Any) -> dict[str, Any]:
    return {"language": {"max_position_embeddings": 64, **changes}}


def limits(model_type: str, **fields: Any) -> Reach:
    config = AutoConfig.for_model(model_type, max_position_embeddings=100, **fields)
    model: Any = type("Model", (), {"language": type("Language", (), {"config": config})})
    return reach_of(model)


def test_scaled_rotary_positions_reach_further() -> None:
    assert limits("llama") == Reach(100, None)
    assert limits("gpt2").positions == 100
    assert limits("mistral", sliding_window=9) == Reach(100, 9)
    assert limits("llama", rope_scaling={"rope_type": "linear", "factor": 4.0}).positions == 400
    assert limits("llama", rope_scaling={"rope_type": "dynamic", "factor": 2.0}).positions == 200
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 50}
    assert limits("qwen2", rope_scaling=yarn).positions == 200
    assert limits("qwen2", rope_scaling={"rope_type": "yarn", "factor": 4.0}).positions == 400


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=2, questions=2)


def asked(labels: Path, words: int) -> Path:
    """The same labels and one long question."""
    long = {"video": "1.mp4", "question": "ball " * words, "answer": "yes"}
    path = labels.with_name(f"long{words}.jsonl")
    path.write_text(labels.read_text() + json.dumps(long) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (language(), "reads 64"),
        ({"language": GPT2}, "reads 64"),
        (
            language(model_type="mistral", max_position_embeddings=900, sliding_window=64),
            "attends within a window of 64",
        ),
    ],
    ids=["llama", "gpt2", "window"],
)
def test_training_refuses_before_any_clip_is_decoded(
    changes: dict[str, Any], words: str, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = blueprint(**changes)
    if changes["language"].get("model_type") == "gpt2":
        made["language"] = GPT2
    train(recipe(stage(labels), blueprint=made, name="fits"), tmp_path, silent, workers=0)

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a clip was decoded")

    monkeypatch.setattr(footage, "decode_ahead", refused)
    monkeypatch.setattr(footage, "decode", refused)
    plan = recipe(stage(asked(labels, 60)), blueprint=made, name="long")
    with pytest.raises(BudgetError) as error:
        train(plan, tmp_path, silent, workers=0)
    assert f"{labels.with_name('long60.jsonl')}:5 with " in str(error.value)
    assert "1.mp4" in str(error.value)
    assert words in str(error.value)
    assert re.search(r"would be \d+ tokens", str(error.value))


def test_a_window_holds_a_prefix_and_one_question_not_all_of_them(labels: Path, tmp_path: Path) -> None:
    """Packed rows are longer than the window; no sequence in them is."""
    rows = [json.loads(line) for line in labels.read_text().splitlines()] * 4
    many = labels.with_name("many.jsonl")
    many.write_text("".join(json.dumps({**row, "id": str(n)}) + "\n" for n, row in enumerate(rows)))
    made = blueprint(**language(model_type="mistral", max_position_embeddings=900, sliding_window=64))
    train(recipe(stage(many), blueprint=made), tmp_path, silent, workers=0)


def test_headers_are_looked_at_where_they_decide(tmp_path: Path) -> None:
    """By the policy alone any clip could be too long; one that is longer than it was, is."""
    for name in ("short", "long"):
        write_mp4(tmp_path / f"{name}.mp4", np.zeros((2, 64, 64, 3), dtype=np.uint8), 2)
    made = blueprint(**language(max_position_embeddings=40))
    made["frames"] = {"policy": "every", "rate": 1.0, "cap": 64}
    rows = [{"video": f"{name}.mp4", "question": "what?", "answer": "it"} for name in ("short", "long")]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(recipe(stage(path), blueprint=made), tmp_path, silent, workers=0)
    write_mp4(tmp_path / "long.mp4", np.zeros((40, 64, 64, 3), dtype=np.uint8), 2)
    with pytest.raises(BudgetError, match=r"labels\.jsonl:2 with .*long\.mp4"):
        train(recipe(stage(path), blueprint=made, name="again"), tmp_path, silent, workers=0)


def test_a_batch_is_looked_at_once_more() -> None:
    packed: Any = type("Packed", (), {"positions": torch.arange(65)[None]})
    with pytest.raises(BudgetError, match="reaches position 64 of 64"):
        refuse_packed(video_lm(**language()), packed)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(video_lm(**language()), tokenizer(), "tiny")


def test_a_long_question_is_refused_before_the_clip_is_looked_at(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"question: is \d+ tokens, and this language model reads 64"):
        engine.ask(tmp_path / "absent.mp4", "ball " * 40_000)


def test_a_question_that_fits_alone_is_refused_with_its_clip(engine: Engine, labels: Path) -> None:
    clip = labels.with_name("0.mp4")
    taken = engine.text_tokens("ball " * 20)
    assert taken < 64
    with pytest.raises(BrokenClip, match=r"would be \d+ tokens, and this language model reads 64"):
        engine.ask(clip, "ball " * (20 + 64 - taken))


@pytest.mark.parametrize("changes", [language(), {"language": GPT2}], ids=["llama", "gpt2"])
def test_an_answer_ends_where_the_positions_do(changes: dict[str, Any], labels: Path) -> None:
    made = blueprint(**changes)
    if changes["language"].get("model_type") == "gpt2":
        made["language"] = GPT2
    model = Engine(video_lm(**{**made, "language": made["language"]}), tokenizer(), "tiny")
    model.stops = ()
    seen = model._seen(labels.with_name("0.mp4"))
    short, long = "what?", "what " * 6
    used = [len(seen[0].tokens) + model.text_tokens(question) for question in (short, long)]
    alone = [model.answer([(seen, [one])], Decoding(max_new_tokens=99))[0][0] for one in (short, long)]
    assert [len(answer.ids) for answer in alone] == [64 - count + 1 for count in used]
    (together,) = model.answer([(seen, [short, long])], Decoding(max_new_tokens=99))
    assert together == alone


def test_a_clip_that_is_too_long_costs_its_row(tmp_path: Path) -> None:
    made = language()
    model = video_lm(**made, frames={"policy": "every", "rate": 1.0, "cap": 64})
    for name, seconds in (("short", 2), ("long", 40)):
        write_mp4(tmp_path / f"{name}.mp4", np.zeros((seconds, 16, 16, 3), dtype=np.uint8), 1)
    out = tmp_path / "out.jsonl"
    summary = caption_store(Builtin(Engine(model, tokenizer(), "tiny")), tmp_path, out, workers=0)
    assert (len(out.read_text().splitlines()), summary.failed) == (1, 1)
    told = json.loads((tmp_path / "out.jsonl.quarantine.jsonl").read_text())
    assert told["clip"] == "long.mp4"
    assert "this language model reads 64" in told["reason"]


def test_an_evaluation_refuses_a_question_that_is_too_long(engine: Engine, tmp_path: Path) -> None:
    turns = (Turn("user", "ball " * 100), Turn("assistant", "yes"))
    long = Sample("s", (Clip("c", tmp_path / "absent.mp4"),), turns, source="labels.jsonl:7")
    with pytest.raises(BudgetError, match=r"labels\.jsonl:7: its question is \d+ tokens"):
        evaluate(engine, [long], out=tmp_path / "out", decoding=Decoding(), controls=(), workers=0)


def test_statements_that_are_too_long_are_told(engine: Engine) -> None:
    found = LanguageMatcher(engine, By.said).unreadable(["a ball", "ball " * 100])
    assert [text[:5] for text in found] == ["ball "]
    assert "this language model reads 64; shorten it" in next(iter(found.values()))
