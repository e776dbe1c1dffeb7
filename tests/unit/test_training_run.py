"""What `train` checks before it begins, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import published_tools
import pytest
import sentencepiece
import torch
from training_tools import blueprint, recipe, silent, stage, trained, write_clips

from vidapt.errors import CheckpointError, ConfigError, FormatError, VidaptError
from vidapt.loading import open_model
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import DataSource
from vidapt.training.checkpoint import StageProgress
from vidapt.training.data import read_samples
from vidapt.training.run import train
from vidapt.training.stage import _advance


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips", clips=3, questions=2)


def test_every_missing_label_file_is_named_before_anything_is_made(labels: Path, tmp_path: Path) -> None:
    plan = recipe(
        stage(labels, "a"),
        stage(tmp_path / "no.jsonl", "b"),
        stage(tmp_path / "nor.jsonl", "c"),
        tokenizer=str(tmp_path / "words"),
    )
    with pytest.raises(ConfigError) as caught:
        train(plan, tmp_path / "runs", silent, workers=0)
    for name in ("no.jsonl", "nor.jsonl", "words"):
        assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_missing_clips_of_any_stage_are_named_before_training(labels: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    write_clips(later, clips=3)
    (later / "1.mp4").unlink()
    plan = recipe(stage(labels, "a"), stage(later / "labels.jsonl", "b"))
    with pytest.raises(FormatError, match=r"1\.mp4"):
        train(plan, tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs").exists()


def test_a_broken_label_line_is_named_before_training(labels: Path, tmp_path: Path) -> None:
    with labels.open("a", encoding="utf-8") as file:
        file.write('{"video": "0.mp4", "question"\n')
    with pytest.raises(FormatError, match=r"labels\.jsonl:7"):
        train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0)


def test_answers_of_later_stages_are_measured_before_the_first(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, "a"), stage(labels, "b", batching={"max_answer_tokens": 2}))
    with pytest.raises(FormatError, match="the limit is 2"):
        train(plan, tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs" / "run").exists()


def test_an_unknown_starting_point_is_named_before_anything_is_made(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels), blueprint=None, start=str(tmp_path / "no-model"))
    with pytest.raises(CheckpointError, match="no-model: there is no such model"):
        train(plan, tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["file", "n" * 300], ids=["under a file", "long"])
def test_a_place_that_takes_no_run_is_told_before_anything_is_made(
    labels: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VidaptError, match=r"file is no folder|the name is too long"):
        train(recipe(stage(labels)), tmp_path / name, silent, workers=0)


def test_a_folder_that_is_not_a_run_is_left_alone(labels: Path, tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "run" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="exists and is not a run"):
            train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0, resume=resume)
    assert [path.name for path in mine.parent.iterdir()] == ["thesis.txt"]


def test_filters_that_let_nothing_through_are_refused(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, data=[{"path": str(labels), "types": ["colour"]}]))
    with pytest.raises(ConfigError, match="no sample that the filters let through"):
        train(plan, tmp_path / "runs", silent, workers=0)


def test_a_broken_clip_costs_its_own_questions_and_is_written_down(labels: Path, tmp_path: Path) -> None:
    (labels.parent / "1.mp4").write_bytes(b"not a video")
    plan = recipe(stage(labels, "a", steps=1), stage(labels, "b", steps=1))
    run = train(plan, tmp_path / "runs", silent, workers=0)
    rows = [json.loads(line) for line in (run / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["path"] for row in rows] == [str(labels.parent / "1.mp4")]
    assert rows[0]["reason"]
    card = json.loads((run / "02-b" / "model" / "card.json").read_text(encoding="utf-8"))
    assert (card["clips"], card["samples"]) == (2, 4)


def write_stretches(folder: Path, stretches: list[tuple[float, float]], questions: list[str]) -> Path:
    rows = [
        {"media": [{"path": "0.mp4", "start_s": start, "end_s": end}], "question": question, "answer": "red."}
        for start, end in stretches
        for question in questions
    ]
    path = folder / "stretches.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_broken_stretch_costs_no_other_stretch_of_its_file(labels: Path, tmp_path: Path) -> None:
    cut = write_stretches(labels.parent, [(0.0, 0.3), (0.3, 0.6), (500.0, 501.0)], ["what is it?"])
    run = train(recipe(stage(cut, steps=1)), tmp_path / "runs", silent, workers=0)
    card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
    assert (card["clips"], card["samples"]) == (2, 2)
    (told,) = (run / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(told)["start_s"], json.loads(told)["end_s"]) == (500.0, 501.0)


@pytest.mark.parametrize(("skip", "limit", "left"), [(0, 1, [0.0]), (1, 1, [0.3]), (1, None, [0.3, 0.5])])
def test_stretches_of_one_file_are_counted_each(
    labels: Path, skip: int, limit: int | None, left: list[float]
) -> None:
    starts = [(0.0, 0.6), (0.3, 0.6), (0.5, 0.6)]
    cut = write_stretches(labels.parent, starts, ["what is it?", "and now?"])
    samples = read_samples([DataSource(path=cut, skip=skip, limit=limit)])
    assert [sample.media[0].start_s for sample in samples] == [start for start in left for _ in range(2)]


def test_a_run_of_broken_clips_alone_is_refused(labels: Path, tmp_path: Path) -> None:
    for clip in labels.parent.glob("*.mp4"):
        clip.write_bytes(b"")
    with pytest.raises(ConfigError, match="none of the clips can be used"):
        train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0)


def test_a_run_says_what_made_it(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=3))
    run = train(plan, tmp_path / "runs", silent, workers=0)
    card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["recipe_hash"] == plan.fingerprint
    assert (card["stage"], card["steps"], card["clips"], card["samples"]) == ("a", 3, 3, 6)
    assert card["versions"].keys() == {"vidapt", "torch", "python"}
    assert json.loads((run / "recipe.json").read_text(encoding="utf-8"))["name"] == "run"
    log = [json.loads(line) for line in (run / "01-a" / "work" / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 3
    assert {"loss", "loss/weight", "rate/connector", "rate/language"} == log[-1].keys() - {"step"}
    # Every answer is "it is 3." or the like: four letters and marks at least, each with a label.
    assert log[-1]["loss/weight"] >= 4 * 2
    assert list((run / "01-a" / "work" / "tensorboard").glob("events*"))


def test_training_learns(labels: Path, tmp_path: Path) -> None:
    heard: list[float] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a":
            heard.append(float(note.partition(";")[0].removeprefix("loss ")))

    plan = recipe(stage(labels, steps=40, batching={"clips": 3}))
    trained(plan, tmp_path / "runs", report=report)
    assert heard[-1] < heard[0] / 2


def test_a_loss_that_is_not_a_number_stops_the_run(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NextToken, "_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(VidaptError, match=r"stage a, step 3: the loss is nan.*3 steps in a row"):
        train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0)


def test_the_loss_that_is_told_soon_forgets_the_first_ones() -> None:
    at = StageProgress()
    for loss in [12.0, 6.0, 3.0, *[2.0] * 21]:
        at = _advance(at, {"loss": loss}, 0.0)
    assert at.step == 24
    assert at.loss == pytest.approx(2.0, abs=0.1)
    for _ in range(400):
        at = _advance(at, {"loss": 1.0}, 0.0)
    assert at.loss == pytest.approx(1.0, abs=1e-6)
    assert _advance(at, {"loss": 2.0}, 0.0).loss == pytest.approx(1.05, abs=1e-6)


@pytest.mark.parametrize("apart", [True, False])
def test_questions_of_a_conversation_are_learned_alone_where_asked(
    labels: Path, tmp_path: Path, apart: bool
) -> None:
    said = [("<video>\nwhat is it?", "red."), ("and now?", "blue."), ("at last?", "green.")]
    turns = [
        {"from": who, "value": text}
        for pair in said
        for who, text in zip(("human", "gpt"), pair, strict=True)
    ]
    talks = labels.parent / "talks.json"
    talks.write_text(json.dumps([{"video": "0.mp4", "conversations": turns}]), encoding="utf-8")
    plan = recipe(stage(talks, steps=1, batching={"clips": 1, "apart": apart}))
    run = train(plan, tmp_path / "runs", silent, workers=0)
    card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
    assert (card["clips"], card["samples"]) == ((1, 3) if apart else (1, 1))


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights_are_lost(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = NextToken._loss

    def steep(*given: Any) -> torch.Tensor:
        value = loss(*given)
        value.register_hook(lambda slope: slope * torch.inf)
        return value

    monkeypatch.setattr(NextToken, "_loss", steep)
    with pytest.raises(
        VidaptError, match=r"stage a, step 3: the gradient's length is (nan|inf), first in lang"
    ):
        train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0)


def test_a_stage_starts_from_the_run_before_and_keeps_its_tokenizer(labels: Path, tmp_path: Path) -> None:
    first = train(recipe(stage(labels, steps=1)), tmp_path / "runs", silent, workers=0)
    plan = recipe(stage(labels, steps=1), blueprint=None, start=str(first), name="second")
    second = train(plan, tmp_path / "runs", silent, workers=0)
    left, right = (run / "01-a" / "model" / "tokenizer.json" for run in (first, second))
    assert left.read_bytes() == right.read_bytes()


def test_a_given_tokenizer_is_used(labels: Path, tmp_path: Path) -> None:
    first = train(recipe(stage(labels, steps=1)), tmp_path / "runs", silent, workers=0)
    words = first / "01-a" / "model"
    plan = recipe(stage(labels, steps=1), name="second", tokenizer=str(words), blueprint=blueprint())
    _, tokenizer = open_model(train(plan, tmp_path / "runs", silent, workers=0))
    assert tokenizer.get_vocab() == open_model(first)[1].get_vocab()


def test_a_given_tokenizer_may_be_sentencepieces_file_alone(labels: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    published_tools.add_pieces(words, published_tools.pieces())
    plan = recipe(stage(labels, steps=1), tokenizer=str(words), blueprint=blueprint())
    _, tokenizer = open_model(train(plan, tmp_path / "runs", silent, workers=0))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(words / "tokenizer.model"))
    for text in ("what is the red ball doing?", "  two  spaces"):
        assert tokenizer(text, add_special_tokens=False).input_ids == pieces.encode(text)


def test_a_given_tokenizer_that_is_damaged_is_told(labels: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.mkdir()
    plan = recipe(stage(labels, steps=1), tokenizer=str(words), blueprint=blueprint())
    with pytest.raises(CheckpointError, match="words: its tokenizer cannot be read"):
        train(plan, tmp_path / "runs", silent, workers=0)


def test_a_device_that_is_not_there_is_refused_before_anything_is_made(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cuda:99' cannot be used"):
        train(recipe(stage(labels)), tmp_path / "runs", silent, workers=0, device="cuda:99")
    assert not (tmp_path / "runs").exists()


def test_flex_attention_is_refused_where_it_cannot_train(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage a, batching\.flex: FlexAttention cannot train on 'cpu'"):
        train(recipe(stage(labels, batching={"flex": True})), tmp_path / "runs", silent, workers=0)
