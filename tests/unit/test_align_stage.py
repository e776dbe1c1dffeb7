"""An alignment stage from recipe to model: what it learns, leaves behind, tells, and refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from align_tools import TERMS, dual, recipe, silent, stage, train, write_captioned
from training_tools import assert_equal, blueprint, weights
from training_tools import stage as talking

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import locate_dual, open_model
from vidapt.models._text_tower import TextTower
from vidapt.recipe import Recipe
from vidapt.training.state import RunState
from vidapt.video import write_mp4


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("clips"))


def rows(run: Path) -> list[dict[str, Any]]:
    log = run / "01-a" / "work" / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def raise_(error: BaseException) -> None:
    raise error


def cut_at(step: int, plan: Recipe, runs: Path, *, resume: bool = False) -> None:
    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a" and done == step:
            raise_(RuntimeError("power cut"))

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, runs, report, workers=0, resume=resume)


def test_alignment_learns_to_tell_clips_apart(labels: Path, tmp_path: Path) -> None:
    sets = {"in_domain": str(labels)}
    plan = recipe(stage(labels, steps=60, batching={"clips": 6}, save_every=30, retrieval=sets))
    run = train(plan, tmp_path, silent, workers=0)
    found = {
        row["step"]: row["in_domain/to_text/recall@1"]
        for row in rows(run)
        if "in_domain/to_text/recall@1" in row
    }
    assert list(found) == [0, 30, 60]
    assert found[60] > 0.8 > found[0]


def test_every_term_is_logged_with_its_value_chance_and_gauges(labels: Path, tmp_path: Path) -> None:
    run = train(recipe(stage(labels, steps=3, batching={"clips": 6})), tmp_path, silent, workers=0)
    (row,) = rows(run)
    assert row["contrastive"] > 0
    assert row["contrastive/chance"] > 0
    assert row["local_align/kept"] == 3
    assert row["loss"] == pytest.approx(row["contrastive"] + 0.5 * row["local_align"], abs=1e-5)
    assert {"rate/towers", "rate/text", "rate/projections", "rate/objective"} <= row.keys()


def test_a_run_leaves_a_model_that_opens_with_its_tokenizer(labels: Path, tmp_path: Path) -> None:
    run = train(recipe(stage(labels)), tmp_path, silent, workers=0)
    model, tokenizer, report = open_dual_encoder(locate_dual(run))
    assert tokenizer("red 0").input_ids[-1] == len(tokenizer) - 1
    assert report.missing == report.unexpected == ()
    assert_equal(model.state_dict(), weights(run))
    card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["texts"] == {"captions": 12}
    with pytest.raises(CheckpointError, match="compares clips with texts"):
        open_model(run)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_cut_at_any_step_changes_nothing(labels: Path, tmp_path: Path, step: int) -> None:
    sets = {"in_domain": str(labels), "general": str(labels)}
    plan = recipe(stage(labels, batching={"clips": 2, "questions": 1}, retrieval=sets))
    whole = train(plan, tmp_path / "whole", silent, workers=0)
    cut_at(step, plan, tmp_path / "cut")
    cut = train(plan, tmp_path / "cut", silent, workers=0, resume=True)
    assert_equal(weights(cut), weights(whole))
    assert rows(cut) == rows(whole)
    for name in sets:
        best = [json.loads((run / "01-a" / f"best-{name}" / "card.json").read_text()) for run in (cut, whole)]
        assert best[0] == best[1]


def test_the_best_model_by_each_set_is_kept(labels: Path, tmp_path: Path) -> None:
    sets = {"in_domain": str(labels)}
    plan = recipe(stage(labels, steps=20, save_every=5, batching={"clips": 6}, retrieval=sets))
    run = train(plan, tmp_path, silent, workers=0)
    ways = ("to_text", "to_video")
    scores = {
        row["step"]: (
            sum(row[f"in_domain/{way}/recall@1"] for way in ways) / 2,
            -sum(row[f"in_domain/{way}/mean_rank"] for way in ways) / 2,
        )
        for row in rows(run)
        if "in_domain/to_text/recall@1" in row
    }
    card = json.loads((run / "01-a" / "best-in_domain" / "card.json").read_text(encoding="utf-8"))
    best = max(scores.values())
    assert card["step"] == next(step for step, score in scores.items() if score == best)
    assert tuple(card["score"]) == pytest.approx(best, abs=1e-6)
    assert open_dual_encoder(run / "01-a" / "best-in_domain")[0].logit_scale.isfinite()


def test_what_is_frozen_stays_and_all_else_moves(labels: Path, tmp_path: Path) -> None:
    start = train(recipe(stage(labels, steps=1)), tmp_path, silent, workers=0)
    before = weights(start)
    frozen = {"towers": "frozen", "text": "frozen"}
    plan = recipe(stage(labels, train=frozen), dual=None, start=str(start), name="second")
    after = weights(train(plan, tmp_path, silent, workers=0))
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"visual_projection", "text_projection", "logit_scale"}


def test_kept_features_give_what_frames_give(labels: Path, tmp_path: Path) -> None:
    found = []
    for keep in ("features", "frames", "nothing"):
        plan = recipe(stage(labels, train={"towers": "frozen"}, cache={"keep": keep}), name=keep)
        found.append(weights(train(plan, tmp_path, silent, workers=0)))
    assert_equal(found[1], found[2])
    for name, tensor in found[0].items():
        # Clips are cached one at a time and seen together, which rounds differently; the optimiser's first
        # steps are as long where a gradient is all but rounding.
        assert torch.allclose(tensor, found[1][name], atol=5e-4), name


def test_terms_that_look_inside_the_tower_keep_frames(labels: Path, tmp_path: Path) -> None:
    terms = [{"kind": "local_align", "patches": "layer:1", "tokens": "embedding"}]
    align = {"kind": "align", "terms": terms, "proxies": True}
    run = train(
        recipe(stage(labels, objective=align, train={"towers": "frozen"}, steps=10)),
        tmp_path,
        silent,
        workers=0,
    )
    assert [path.name.partition("-")[0] for path in (tmp_path / ".cache").iterdir()] == ["frames"]
    assert rows(run)[-1]["local_align/patches"] == 3 * 4 + 3


def test_steps_of_one_group_are_skipped_and_counted(labels: Path, tmp_path: Path) -> None:
    pairs = {"alike": "fact", "fact": "place", "batches": "together"}
    plan = recipe(stage(labels, steps=6, batching={"clips": 2}, pairs=pairs))
    run = train(plan, tmp_path, silent, workers=0)
    told = RunState(**json.loads((run / "run.json").read_text(encoding="utf-8"))).stages["01-a"]
    assert told["skipped"] == 6
    assert told["loss"] is None


def test_clips_of_one_group_alone_are_refused(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, data=[{"path": str(labels), "limit": 1}]))
    with pytest.raises(ConfigError, match="of one group: nothing can be told apart"):
        train(plan, tmp_path, silent, workers=0)


def test_long_captions_are_told_of(labels: Path, tmp_path: Path) -> None:
    heard: dict[str, str] = {}

    def report(task: str, done: int, total: int, note: str = "") -> None:
        heard[task] = note

    long = labels.parent / "long.jsonl"
    long.write_text(labels.read_text() + '{"video": "0.mp4", "caption": "' + "blue red " * 30 + '"}\n')
    train(recipe(stage(long, steps=1)), tmp_path, report, workers=0)
    assert heard["a: data"] == "12 captions, 1 captions too long"


def test_a_broken_clip_costs_its_own_captions_and_is_written_down(tmp_path: Path) -> None:
    labels = write_captioned(tmp_path / "clips")
    (labels.parent / "1.mp4").write_bytes(b"not a video")
    run = train(
        recipe(stage(labels, steps=1, retrieval={"in_domain": str(labels)})),
        tmp_path / "runs",
        silent,
        workers=0,
    )
    (row,) = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert row["path"] == str(labels.parent / "1.mp4")
    card = json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8"))
    assert (card["clips"], card["samples"]) == (5, 10)


def test_a_term_that_stays_at_chance_is_told_of(labels: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "a":
            heard.append(note)

    still = {"rates": {"towers": 1e-12, "text": 1e-12, "projections": 1e-12, "objective": 1e-12}}
    align = {"kind": "align", "terms": TERMS, "near_chance": 0.5, "patience": 2}
    plan = recipe(stage(labels, objective=align, optimizer=still, steps=30))
    cut_at(25, plan, tmp_path)
    run = train(plan, tmp_path, report, workers=0, resume=True)
    assert "within 50% of chance for 2 logged steps" in heard[-1]
    assert [row.get("local_align/near_chance") for row in rows(run)] == [None, 2.0, 3.0]


def test_the_factor_on_cosines_stays_within_its_bounds(labels: Path, tmp_path: Path) -> None:
    align = {"kind": "align", "terms": TERMS, "max_scale": 50.0}
    run = train(recipe(stage(labels, objective=align, steps=1)), tmp_path, silent, workers=0)
    assert float(weights(run)["logit_scale"]) == pytest.approx(math.log(50))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"train": {"towers": "frozen", "text": "frozen", "projections": "frozen"}}, "every part is frozen"),
        ({"pairs": {"statement": "("}}, "no regular expression"),
        ({"pairs": {"statement": "a"}}, "needs a group"),
        ({"pairs": {"alike": "fact"}}, "belong together"),
    ],
)
def test_what_contradicts_itself_is_refused(labels: Path, changes: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        recipe(stage(labels, **changes))


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({"objective": {"kind": "next_token"}}, "do not fit one model"),
        ({"objective": {"kind": "align", "terms": [{"kind": "next_token"}]}}, "no term of one"),
        ({"pairs": {"tokens": 21}}, "the text tower reads 20"),
    ],
)
def test_what_no_dual_encoder_can_do_is_refused(
    labels: Path, tmp_path: Path, made: dict[str, Any], found: str
) -> None:
    with pytest.raises(ConfigError, match=found):
        train(recipe(stage(labels, **made)), tmp_path, silent, workers=0)


def test_a_video_language_model_learns_from_no_pairs(labels: Path, tmp_path: Path) -> None:
    given = {"name": "run", "vocabulary": 300, "blueprint": blueprint()}
    refused: dict[str, dict[str, Any]] = {
        "belong to the objective": {"retrieval": {"general": str(labels)}},
        "do not fit one model": {"objective": {"kind": "align", "terms": TERMS}},
    }
    for found, changes in refused.items():
        plan = Recipe.model_validate({**given, "stages": [talking(labels, **changes)]})
        with pytest.raises(ConfigError, match=found):
            train(plan, tmp_path, silent, workers=0)


def test_frames_of_different_numbers_cannot_be_stacked(labels: Path, tmp_path: Path) -> None:
    frames = {"policy": "every", "rate": 6.0}
    mixed = write_captioned(tmp_path / "mixed", clips=2)
    write_mp4(mixed.parent / "1.mp4", torch.zeros(4, 24, 32, 3, dtype=torch.uint8).numpy(), 6)
    plan = recipe(stage(mixed, steps=1), dual=dual(frames=frames))
    with pytest.raises(ConfigError, match="different shapes"):
        train(plan, tmp_path, silent, workers=0)


def test_falsified_texts_are_encoded_only_where_a_term_reads_them(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    layers = TextTower.layers

    def counted(tower: TextTower, ids: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        read.append(len(ids))
        return layers(tower, ids, mask)

    monkeypatch.setattr(TextTower, "layers", counted)
    for name, terms in {"global": TERMS[:1], "hard": [*TERMS[:1], {"kind": "margin"}]}.items():
        goal = {"kind": "align", "terms": terms}
        plan = recipe(stage(labels, steps=1, objective=goal, pairs={"falsify": 1}), name=name)
        train(plan, tmp_path, silent, workers=0)
    assert read == [6, 12]
