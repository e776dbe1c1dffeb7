"""Questions asked while a model learns: what it gains, what it keeps, and the best of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from align_tools import recipe as align_recipe
from align_tools import stage as align_stage
from safetensors.torch import load_file
from training_tools import assert_equal, recipe, silent, stage, train, weights, write_clips

from vidapt.errors import BudgetError, ConfigError, FormatError
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Recipe
from vidapt.training.measuring import chosen

SETS = ("in_domain", "general")


def texts(folder: Path, *pairs: tuple[str, str]) -> dict[str, str]:
    """Questions without clips, as a general set may hold them."""
    said = [[{"from": "human", "value": q}, {"from": "gpt", "value": a}] for q, a in pairs]
    rows = [{"id": str(number), "conversations": turns} for number, turns in enumerate(said)]
    file = folder / "texts.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return {"path": str(file), "format": "llava_json"}


def measured(folder: Path, **changes: Any) -> Recipe:
    labels = write_clips(folder / "clips")
    sets = {
        "in_domain": str(labels),
        "general": [texts(folder, *((f"what is {n}?", f"{n}") for n in range(4)))],
    }
    return recipe(stage(labels, measure=sets, steps=30, save_every=10, **changes))


def rows(run: Path) -> list[dict[str, Any]]:
    lines = (run / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if "measure/general/loss" in row]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    return train(measured(folder), folder / "runs", silent, workers=0)


def test_each_set_is_asked_before_the_first_step_and_at_every_checkpoint(run: Path) -> None:
    found = rows(run)
    assert [row["step"] for row in found] == [0, 10, 20, 30]
    losses = [row["measure/in_domain/loss"] for row in found]
    assert losses[-1] < losses[0]
    assert all(0 <= row[f"measure/{name}/accuracy"] <= 1 for row in found for name in SETS)


def test_the_best_by_each_set_is_kept_and_opens(run: Path) -> None:
    for name in SETS:
        card = json.loads((run / "01-a" / f"best-{name}" / "card.json").read_text(encoding="utf-8"))
        scores = {
            row["step"]: (row[f"measure/{name}/accuracy"], -row[f"measure/{name}/loss"]) for row in rows(run)
        }
        assert card["step"] == max(scores, key=lambda step: scores[step])
        assert card["score"] == pytest.approx(scores[card["step"]], abs=1e-6)
        assert load(run / "01-a" / f"best-{name}").card["set"] == name


def test_what_is_logged_last_is_what_an_evaluation_of_the_model_finds(run: Path, tmp_path: Path) -> None:
    samples = list(open_samples(run.parents[1] / "clips" / "labels.jsonl"))
    done = evaluate(
        load(run), samples, out=tmp_path, decoding=Decoding(max_new_tokens=12), controls=(), workers=0
    )
    right = [verdict.right("model") for verdict in done.verdicts]
    assert rows(run)[-1]["measure/in_domain/accuracy"] == pytest.approx(sum(map(bool, right)) / len(right))


def test_the_loss_is_that_of_each_answer_alone(run: Path) -> None:
    engine = load(run)
    total = count = 0.0
    for sample in open_samples(run.parents[1] / "clips" / "labels.jsonl"):
        ids, logits = engine.logits(sample.media[0].path, sample.question, sample.answer)
        total -= logits.double().log_softmax(-1).gather(1, ids[:, None]).sum().item()
        count += len(ids)
    assert rows(run)[-1]["measure/in_domain/loss"] == pytest.approx(total / count, abs=1e-4)


def test_measuring_changes_nothing_of_what_is_learned(run: Path, tmp_path: Path) -> None:
    labels = run.parents[1] / "clips" / "labels.jsonl"
    plain = recipe(stage(labels, steps=30, save_every=10))
    assert_equal(weights(train(plain, tmp_path, silent, workers=0)), weights(run))


@pytest.mark.parametrize("keep", ["features", "nothing"])
def test_a_killed_run_goes_on_to_the_same_numbers_and_best_models(tmp_path: Path, keep: str) -> None:
    frozen = {} if keep == "nothing" else {"train": {"towers": "frozen", "language": "lora"}}
    plan = measured(tmp_path, cache={"keep": keep}, **frozen)
    whole = train(plan, tmp_path / "whole", silent, workers=0)

    def killed(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a" and done == 17:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(plan, tmp_path / "killed", killed, workers=0)
    again = train(plan, tmp_path / "killed", silent, workers=0, resume=True)
    assert rows(again) == rows(whole)
    assert_equal(weights(again), weights(whole))
    for name in SETS:
        file = Path("01-a") / f"best-{name}" / "model.safetensors"
        assert_equal(load_file(again / file), load_file(whole / file))


def test_labels_that_are_streamed_are_measured_too(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    given = stage(labels, data=[{"path": str(labels), "read": "rows"}], measure={"here": str(labels)})
    done = train(recipe(given), tmp_path / "runs", silent, workers=0)
    assert (done / "01-a" / "best-here" / "model.safetensors").is_file()


def test_a_sample_is_drawn_once_and_holds_questions_of_all_places() -> None:
    def sample(number: int) -> Sample:
        media = (Clip(str(number // 4), Path(str(number // 4))),)
        return Sample(str(number), media, (Turn("user", f"q{number % 4}"), Turn("assistant", "a")))

    samples = [sample(number) for number in range(400)]
    some = chosen(samples, 100)
    assert [one.id for one in some] == [one.id for one in chosen(samples, 100)]
    assert len(some) == 100
    assert {one.question for one in some} == {"q0", "q1", "q2", "q3"}
    assert [int(one.id) for one in some] == sorted(int(one.id) for one in some)


def test_a_broken_clip_of_a_set_is_left_out_and_told_of(tmp_path: Path) -> None:
    labels, there = write_clips(tmp_path / "here"), write_clips(tmp_path / "there", clips=2)
    (there.parent / "1.mp4").write_bytes(b"not a video")
    done = train(recipe(stage(labels, measure={"general": str(there)})), tmp_path / "runs", silent, workers=0)
    listed = (done / "quarantine.jsonl").read_text(encoding="utf-8")
    assert str(there.parent / "1.mp4") in listed


def test_sets_that_cannot_be_asked_are_refused_before_work_begins(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    with pytest.raises(ConfigError, match="files are missing"):
        train(recipe(stage(labels, measure={"a": "none.jsonl"})), tmp_path / "runs", silent, workers=0)
    with pytest.raises(ConfigError, match="a dual encoder answers no questions"):
        train(align_recipe(align_stage(labels, measure={"a": str(labels)})), tmp_path, silent, workers=0)
    for question, answer, error, found in (
        ("what?", "", FormatError, "is empty"),
        ("what? " * 3000, "it", BudgetError, "texts"),
    ):
        odd = texts(tmp_path, (question, answer))
        with pytest.raises(error, match=found):
            train(recipe(stage(labels, measure={"a": [odd]})), tmp_path / "runs", silent, workers=0)
    assert not (tmp_path / "runs" / "run" / "01-a").exists()
