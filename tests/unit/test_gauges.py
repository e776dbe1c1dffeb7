"""Gauges: what differs is found token by token, what is not looked at gains nothing, all is counted right."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_tools import recipe, silent, stage, tokenizer, train, video_lm, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.gauges.answers import Held, Holding, differing, gauges_of
from vidapt.gauges.contrast import area, mean_area
from vidapt.gauges.guards import guards_of
from vidapt.gauges.rivals import rivals_of
from vidapt.inference.load import load
from vidapt.measure.course import SetCourse
from vidapt.measure.gauging.study import LEAST, Point, related
from vidapt.metrics.ranks import ranks, spearman, spearman_interval
from vidapt.models.folder import save_model
from vidapt.nouns import Clip, Sample, Turn

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=8)


@given(IDS, IDS)
def test_what_differs_lies_between_what_is_alike(one: list[int], other: list[int]) -> None:
    places = differing(one, other)
    assert len(places) >= 1
    assert places.start >= 0
    assert places.stop <= len(one)
    if places.start and len(one) != len(other):
        assert one[: places.start][: len(other)] == other[: places.start]
    if one != other and len(one) == len(other):
        assert one[: places.start] == other[: places.start]
        assert one[places.stop :] == other[places.stop :]


def sample(name: str, question: str, answer: str, kind: str, clip: str = "c") -> Sample:
    turns = (Turn("user", question), Turn("assistant", answer))
    return Sample(name, (Clip(clip, Path(f"{clip}.mp4")),), turns, {"type": kind})


def test_rivals_are_other_answers_of_a_type_or_texts_with_one_fact_changed() -> None:
    samples = [
        sample("a", "which ball?", "red.", "ball"),
        sample("b", "which ball?", "blue.", "ball"),
        sample("c", "which ball?", "Red", "ball"),
        sample("d", "how many?", "two", "count"),
        sample("e", "describe it.", "the red ball hits the blue ball and then rolls away.", "caption"),
    ]
    found = rivals_of(samples)
    assert found["a"] == found["c"] == "blue."
    assert found["b"] in ("red.", "Red")
    assert "d" not in found  # nothing else was ever answered
    assert found["e"] != samples[4].answer
    assert rivals_of(list(reversed(samples)))["e"] == found["e"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with questions, and a run that learned some of them."""
    folder = tmp_path_factory.mktemp("gauges")
    labels = write_clips(folder / "clips", clips=3, questions=3)
    own = stage(
        labels,
        train={"towers": "frozen", "language": "full"},
        steps=3,
        save_every=2,
        measure={"held": [{"path": str(labels)}]},
    )
    train(recipe(own), folder, silent, workers=0)
    save_model(folder / "model", video_lm(), tokenizer(), {})
    return folder


def test_a_stage_logs_gauges_of_its_sets(folder: Path) -> None:
    (log,) = (folder / "run").rglob("metrics.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    measured = [row for row in rows if "measure/held/loss" in row]
    assert [row["step"] for row in measured] == [0, 2, 3]
    names = {"evidence", "evidence_other_clip", "told_apart", "chosen", "empty", "refused", "words"}
    for row in measured:
        assert {f"measure/held/{name}" for name in names} <= row.keys()
        assert 0 <= row["measure/held/told_apart"] <= 1
        assert row["measure/held/chosen"] < 0


def test_the_report_draws_gauges_and_says_whether_they_still_rise(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["report", str(folder / "run"), "--out", str(tmp_path / "r.html"), "--json"]
    )
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["sets"]
    assert len(one["gauges"]["told_apart"]) == len(one["steps"]) == 3
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "told apart of held" in page
    assert "evidence other clip of held" in page


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((0.5, 0.6, 0.7), "rises"),
        ((0.7, 0.6, 0.705), "is flat"),
        ((0.9, 0.8, 0.7), "falls"),
        ((0.9, 1.0), "-"),
    ],
)
def test_the_last_three_checkpoints_decide(told: tuple[float, ...], said: str) -> None:
    steps = tuple(range(len(told)))
    course = SetCourse("01-a", "held", steps, None, told, 0, {"told_apart": told})
    assert course.aim.endswith(said)


def test_what_is_held_is_what_the_model_says_of_each_alone(folder: Path) -> None:
    engine = load(folder / "model")
    samples = list(open_samples(folder / "clips" / "labels.jsonl"))
    mine = [one for one in samples if one.media == samples[0].media]
    rivals = rivals_of(samples)
    seen, other = engine.watch([samples[0].media[0], samples[-1].media[0]], workers=0)
    held = Holding(engine, rivals).of(mine, [seen], [other])  # type: ignore[list-item]
    assert [one.sample for one in held] == [one.id for one in mine if one.id in rivals]
    for one in held:
        asked = next(sample for sample in mine if sample.id == one.sample)
        packed, logits = engine.answered([seen], [(asked.question, asked.answer)])  # type: ignore[list-item]
        logs = logits.double().log_softmax(-1).gather(1, packed.labels[:, None]).squeeze(1)
        assert one.true == pytest.approx(float(logs.mean()), abs=1e-5)
        rival, _ = engine.answered([seen], [(asked.question, rivals[asked.id])])  # type: ignore[list-item]
        places = differing(packed.labels.tolist(), rival.labels.tolist())
        assert one.clip == pytest.approx(float(logs[places.start : places.stop].sum()), abs=1e-5)
        blind, logits = engine.answered((), [(asked.question, asked.answer)])
        logs = logits.double().log_softmax(-1).gather(1, blind.labels[:, None]).squeeze(1)
        assert one.without == pytest.approx(float(logs[places.start : places.stop].sum()), abs=1e-5)
    assert Holding(engine, {}).of(mine, [seen], None) == []  # type: ignore[list-item]


def test_numbers_are_counted_right() -> None:
    looking = Held("a", -1.0, -6.0, -4.0, 2, -0.5, -3.0)
    guessing = Held("b", -4.0, -4.0, -4.0, 2, -2.0, -2.0)
    found = gauges_of([looking, guessing])
    assert found is not None
    assert found.evidence == pytest.approx((8 - 5) / 8)
    assert found.evidence_other_clip == pytest.approx((8 - 10) / 8)
    assert found.told_apart == 0.75  # a tie counts half
    assert found.chosen == -1.25
    assert gauges_of([]) is None
    text = gauges_of([Held("c", None, None, -4.0, 1, -1.0, -2.0)])
    assert text is not None
    assert set(text.to_dict()) == {"told_apart", "chosen"}


def test_guards() -> None:
    found = guards_of(["", "I cannot see the video.", "a red ball"])
    assert found is not None
    assert (found.empty, found.refused, found.words) == (1 / 3, 1 / 3, pytest.approx(8 / 3))
    assert guards_of([]) is None


def test_the_area_counts_pairs() -> None:
    assert area([3, 1], [2, 1]) == (1 + 1 + 0 + 0.5) / 4
    assert area([], [1]) is None
    assert mean_area([([2], [1]), ([1], [2]), ([1], [])]) == 0.5
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 20), rng.integers(0, 9, 30)
    u = stats.mannwhitneyu(one, other).statistic
    assert area(one.tolist(), other.tolist()) == pytest.approx(u / 600)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_ranks_are_scipys(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    one, other = zip(*pairs, strict=True)
    assert ranks(one).tolist() == stats.rankdata(one).tolist()
    found = spearman(one, other)
    if len(set(one)) > 1 and len(set(other)) > 1:
        assert found == pytest.approx(stats.spearmanr(one, other).statistic)
    else:
        assert found is None


def points(gauge: str, values: list[float], results: list[float]) -> list[Point]:
    return [
        Point(f"m{i}", f"run{i % 3}", {gauge: v}, r)
        for i, (v, r) in enumerate(zip(values, results, strict=True))
    ]


def test_a_gauge_that_says_nothing_is_retired() -> None:
    results = [float(i) for i in range(24)]
    (good,) = related(points("good", [math.sqrt(i) for i in range(24)], results))
    assert good.correlation is not None
    assert good.correlation.value == pytest.approx(1.0)
    assert good.words == "keep"
    (against,) = related(points("loss", [-i for i in range(24)], results))
    assert against.words == "keep"
    noise = np.random.default_rng(3).random(24).tolist()
    (bad,) = related(points("bad", noise, results))
    assert bad.correlation is not None
    assert abs(bad.correlation.value) < LEAST
    assert bad.words == "retire"
    (flat,) = related(points("flat", [1.0] * 24, results))
    assert flat.words == "does not vary"
    interval = spearman_interval(noise, results, ["a", "b"] * 12)
    assert interval is not None
    assert interval.low < interval.value < interval.high


def test_the_command_gauges_and_relates(folder: Path, tmp_path: Path) -> None:
    labels = str(folder / "clips" / "labels.jsonl")
    stages = [str(path) for path in sorted((folder / "run").glob("0*/model"))]
    models = [*stages, str(folder / "model")]
    shown = CliRunner().invoke(
        app, ["gauges", "show", *models, "--data", labels, "--workers", "0", "--small", "16", "--json"]
    )
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert [one["model"] for one in found] == models
    assert {"evidence", "evidence_small", "told_apart", "words"} <= found[0]["gauges"].keys()
    args = ["--data", labels, "--test", labels, "--out", str(tmp_path), "--workers", "0"]
    few = CliRunner().invoke(app, ["gauges", "study", *models, *args])
    assert few.exit_code == 2
    assert "cannot be ranked" in few.output
    wrong = CliRunner().invoke(app, ["gauges", "study", *models * 2, *args, "--result", "a"])
    assert wrong.exit_code == 2
    assert "CHECKPOINT=MODEL" in wrong.output
    done = CliRunner().invoke(app, ["gauges", "study", *(models * 2)[:4], *args, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert len(told["points"]) == 4
    assert told == json.loads((tmp_path / "gauges.json").read_text())
    assert (tmp_path / "report.html").exists()
    again = CliRunner().invoke(app, ["gauges", "study", *(models * 2)[:4], *args, "--json"])
    assert json.loads(again.stdout)["related"] == told["related"]


def test_no_question_about_a_clip(tmp_path: Path) -> None:
    from vidapt.measure.gauging.gauge import gauge_set

    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "why?", "answer": "because.", "media": []}) + "\n")
    with pytest.raises(ConfigError, match="about"):
        gauge_set(path)
