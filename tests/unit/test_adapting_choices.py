"""What is chosen for a user: by how much data there are, of which length, for which base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from adapt_tools import clips_in, footage, llava
from curation_tools import write
from hypothesis import given
from hypothesis import strategies as st
from measure_tools import Decoding, FakeEngine, pool, truth

from vidapt.adapting.base import Base, sheet_of
from vidapt.adapting.choose import choose_recipe, epochs_of
from vidapt.adapting.data import FEWEST, divide, open_source, shares
from vidapt.adapting.decisions import Decisions
from vidapt.adapting.facts import Facts, facts_of
from vidapt.adapting.job import Places, Request
from vidapt.adapting.keep import judged, keep_best
from vidapt.cli.adapting import _Agreement
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.measure.evaluate import evaluate
from vidapt.measure.evaluation import Evaluation
from vidapt.planning.numbers import RecipePlan
from vidapt.progress import progress, silent
from vidapt.recipe import Recipe
from vidapt.video import Uniform

FACTS = Facts(200, 800, 4, 200, (3.0, 5.0), "tell what happens.", "what colour is the ball?")
SMALL = Base("billiards-home", 2_000_000, Uniform(count=18))
LARGE = Base("/models/a", 7_000_000_000, Uniform(count=8))


def chosen(
    folder: Path,
    base: Base = SMALL,
    facts: Facts = FACTS,
    device: str = "cpu",
    changes: tuple[str, ...] = (),
    general: Path | None = None,
) -> tuple[Recipe, dict[str, str]]:
    told: list[str] = []
    decisions = Decisions(folder / "decisions.json", told.append)
    decisions.forget()
    request = Request(folder, name="mine", changes=changes, general=general)
    recipe = choose_recipe(request, base, facts, device, Places(folder), decisions)
    assert told == [str(one) for one in decisions]
    return recipe, {one.about: one.what for one in decisions}


@given(st.integers(FEWEST, 1_000_000), st.booleans())
def test_parts_are_whole_and_what_is_held_back_is_bounded(count: int, held_out: bool) -> None:
    parts = shares(count, held_out=held_out)
    assert sum(parts.values()) == pytest.approx(1)
    assert parts["train"] > 0.5
    assert 1 <= parts["val"] * count <= 501
    assert ("test" in parts) == held_out


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_fewer_clips_are_seen_more_often(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert epochs_of(6, few) >= epochs_of(6, many) >= 1
    assert epochs_of(6, few) <= 18


def test_a_small_base_learns_words_and_then_everything(tmp_path: Path) -> None:
    recipe, decided = chosen(tmp_path)
    assert [stage.name for stage in recipe.stages] == ["words", "eyes"]
    assert [stage.train.towers for stage in recipe.stages] == ["frozen", "full"]
    assert all(stage.batching.apart and stage.batching.questions == 4 for stage in recipe.stages)
    assert all(stage.batching.blind > 0 for stage in recipe.stages)
    assert recipe.data[0].path == tmp_path / "data" / "train.jsonl"
    assert "reads" not in yaml.safe_load(Places(tmp_path).recipe.read_text())
    assert "apart" in decided["conversations"]
    assert decided["words"] == f"up to {recipe.new_tokens} new tokens"
    assert recipe.new_tokens > 0


def test_the_tokens_of_a_small_published_base_belong_to_its_format(tmp_path: Path) -> None:
    recipe, decided = chosen(tmp_path, replace(SMALL, name="/models/small", published=True))
    assert recipe.new_tokens == 0
    assert "words" not in decided


def test_every_decision_stands_in_the_recipe_with_its_reason(tmp_path: Path) -> None:
    chosen(tmp_path)
    text = Places(tmp_path).recipe.read_text()
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    for one in Decisions(Places(tmp_path).decisions, print):
        assert " ".join(str(one).split()) in comment


def test_what_is_to_be_kept_is_measured_in_every_stage(tmp_path: Path) -> None:
    recipe, decided = chosen(tmp_path, general=tmp_path / "old.json")
    sets = [stage.measure["general"] for stage in recipe.stages]
    assert [[source.path for source in sources] for sources in sets] == [[tmp_path / "old.json"]] * 2
    assert decided["general"] == "old.json"
    recipe, decided = chosen(tmp_path)
    assert "general" not in decided
    assert not any(stage.measure for stage in recipe.stages)


def test_single_questions_need_not_be_taken_apart(tmp_path: Path) -> None:
    recipe, decided = chosen(tmp_path, facts=replace(FACTS, conversations=0))
    assert not any(stage.batching.apart for stage in recipe.stages)
    assert "conversations" not in decided


def test_a_published_base_learns_by_adapters_in_the_language_model_alone(tmp_path: Path) -> None:
    recipe, _ = chosen(tmp_path, LARGE, device="cuda")
    (stage,) = recipe.stages
    assert (stage.train.towers, stage.train.language) == ("frozen", "lora")
    assert (stage.precision, stage.recompute, stage.batching.memory) == ("bfloat16", True, "auto")
    assert recipe.reads is None


def test_many_clips_try_the_tower_of_a_published_base_too_more_slowly(tmp_path: Path) -> None:
    recipe, decided = chosen(tmp_path, LARGE, replace(FACTS, clips=2000))
    words, eyes = recipe.stages
    assert (words.train.towers, eyes.train.towers) == ("frozen", "lora")
    assert eyes.optimizer.rates.towers <= eyes.optimizer.rates.language / 5
    assert "tenth" in decided["eyes"]


def test_more_clips_than_the_recipes_are_meant_for_are_told(tmp_path: Path) -> None:
    _, decided = chosen(tmp_path, facts=replace(FACTS, clips=10_001))
    assert "by hand" in decided["another recipe"]
    _, decided = chosen(tmp_path, facts=replace(FACTS, clips=10_000))
    assert "another recipe" not in decided


def test_long_clips_are_read_in_more_frames_where_the_base_can(tmp_path: Path) -> None:
    long = replace(FACTS, seconds=(60.0, 90.0))
    recipe, _ = chosen(tmp_path, LARGE, long)
    assert recipe.reads is not None
    assert recipe.reads.frames == Uniform(count=45)
    recipe, decided = chosen(tmp_path, replace(SMALL, frames=Uniform(count=8)), long)
    assert recipe.reads is None
    assert "all that this base can take" in decided["frames"]


def test_changes_stand_in_the_recipe_and_wrong_ones_leave_none(tmp_path: Path) -> None:
    recipe, _ = chosen(tmp_path, changes=("stages.0.epochs=null", "stages.0.steps=3"))
    assert (recipe.stages[0].epochs, recipe.stages[0].steps) == (None, 3)
    assert yaml.safe_load(Places(tmp_path).recipe.read_text())["stages"][0]["steps"] == 3
    with pytest.raises(ConfigError, match="epoch"):
        chosen(tmp_path, changes=("stages.0.epoch=3",))
    assert not Places(tmp_path).recipe.exists()


def test_what_is_known_of_clips_comes_from_the_clips(tmp_path: Path) -> None:
    clips, labels = footage(tmp_path, 10)
    request, places = Request(clips, labels), Places(tmp_path / "out")
    source, samples = open_source(request)
    divide(source, samples, request, places, Decisions(places.decisions, print), silent, 0)
    facts = facts_of(places.train, silent)
    assert (facts.clips, facts.questions, facts.most, facts.conversations) == (6, 12, 2, 6)
    assert facts.caption == "tell what happens."
    assert facts.seconds == pytest.approx((2.0, 2.0))
    parts = {
        name: {s.media[0].path for s in open_samples(places.data / f"{name}.jsonl")}
        for name in ("train", "val", "test")
    }
    assert [len(paths) for paths in parts.values()] == [6, 2, 2]
    assert len(set.union(*parts.values())) == 10


def measured(out: Path, wrong: int, clips: int = 8) -> Evaluation:
    """An evaluation in which the first clips are answered wrongly."""
    names = {f"c{number:02d}" for number in range(wrong)}

    def rule(clip: str | None, question: str) -> str:
        return "nothing" if clip in names else truth(clip, question)

    engine: Any = FakeEngine(rule)
    decoding: Any = Decoding()
    return evaluate(engine, pool(clips), out=out, decoding=decoding, controls=())


def test_a_sure_gain_is_kept_and_a_sure_loss_is_not(tmp_path: Path) -> None:
    poor, good = measured(tmp_path / "a", 7), measured(tmp_path / "b", 0)
    for large in (False, True):
        assert judged(poor, good, large=large).later
        assert not judged(good, poor, large=large).later


def test_where_clips_are_too_few_a_model_that_knew_much_stays_as_it_was(tmp_path: Path) -> None:
    before, after = measured(tmp_path / "a", 1), measured(tmp_path / "b", 0)
    assert judged(before, after, large=False).later
    assert not judged(before, after, large=True).later
    assert not judged(after, before, large=False).later
    assert "held-out clips" in judged(before, after, large=True).why


def test_the_better_of_two_stages_is_kept_and_the_reason_told(tmp_path: Path) -> None:
    errors = {"01-words": 0, "02-eyes": 7}

    def measure(engine: str, out: Path, task: str, controls: object) -> Evaluation:
        del task, controls
        return measured(out, errors[engine])

    bench: Any = SimpleNamespace(measure=measure)
    told: list[str] = []
    decisions = Decisions(tmp_path / "decisions.json", told.append)
    models = {name: tmp_path / name for name in errors}
    opened: Any = lambda path: path.name  # noqa: E731 - one expression
    kept = keep_best(models, opened, bench, tmp_path / "val", decisions, large=False)
    assert kept == tmp_path / "01-words"
    assert told[0].startswith("kept: 01-words, not 02-eyes (on 8 held-out clips")


def test_captions_are_asked_for_as_the_labels_ask_for_most(tmp_path: Path) -> None:
    clips_in(tmp_path, 4)
    told = "the red ball runs over the whole table, meets a cushion and stops beside the blue one."
    rows = [
        {"video": f"{number:03d}.mp4", "question": question, "answer": answer}
        for number in range(4)
        for question, answer in (
            ("was it a break?", "no, the rack was never opened in it."),
            ("was it a break?", "no, nobody has opened the rack in it."),
            ("what happens?", f"{told} {number}"),
            ("red or blue?", "red"),
        )
    ]
    rows.append({"video": "000.mp4", "question": "once?", "answer": " ".join([told] * 20)})
    facts = facts_of(write(tmp_path / "labels.jsonl", rows), silent)
    assert (facts.caption, facts.question) == ("what happens?", "was it a break?")
    short = facts_of(write(tmp_path / "short.jsonl", [one for one in rows if one["answer"] == "red"]), silent)
    assert short.caption is None


def test_a_test_set_of_its_own_is_measured_on_whole(tmp_path: Path) -> None:
    clips, labels = footage(tmp_path, 10)
    clips_in(clips, 3, 10)
    test = llava(tmp_path / "test.json", ["010.mp4", "011.mp4", "012.mp4"])
    request, places = Request(clips, labels, test=test), Places(tmp_path / "out")
    source, samples = open_source(request)
    assert [path.name for path in source.unlabelled] == []
    told: list[str] = []
    divide(source, samples, request, places, Decisions(places.decisions, told.append), silent, 0)
    assert {s.media[0].path.name for s in open_samples(places.test)} == {"010.mp4", "011.mp4", "012.mp4"}
    assert sum(1 for part in (places.train, places.val) for _ in open_samples(part)) == 10
    assert any(line.startswith("test: 3 rows") for line in told)


@pytest.mark.parametrize(
    ("name", "gigabytes", "sheet"),
    [
        ("NVIDIA H200", 140, "h200"),
        ("NVIDIA A100-SXM4-40GB", 40, "a100-40g"),
        ("NVIDIA A100-SXM4-80GB", 79, "a100-80g"),
        ("NVIDIA GeForce RTX 4090", 24, "rtx4090"),
        ("NVIDIA A10G", 22, "cpu"),
        ("Quadro T1000", 4, "cpu"),
    ],
)
def test_a_gpu_is_planned_by_its_sheet(name: str, gigabytes: int, sheet: str) -> None:
    assert sheet_of(name, gigabytes << 30) == sheet


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_at_a_terminal_is_asked(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("typer.confirm", confirm)
    plan = RecipePlan("mine", ())
    with progress() as report:
        assert _Agreement(report, asks=True, goes_on=True, quiet=True)(plan) is answer
        assert len(asked) == 1
        assert _Agreement(report, asks=False, goes_on=True, quiet=True)(plan)
        assert not _Agreement(report, asks=True, goes_on=False, quiet=True)(plan)
    assert len(asked) == 1
