"""The studies' variants are recipes, each of which changes something, and can be planned."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidapt.planning.plan import Means, plan_recipe
from vidapt.progress import silent
from vidapt.recipe import Recipe, load_recipe
from vidapt.training.outlook import outlook
from vidapt.worlds.billiards import story
from vidapt.worlds.billiards.claims import true_claims
from vidapt.worlds.billiards.clips import play
from vidapt.worlds.billiards.table import FPS, FRAMES
from vidapt.worlds.billiards.venues import find_venue

ROOT = Path(__file__).parents[2]


def test_every_variant_of_the_alignment_study_is_a_recipe_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks" / "studies"), *sys.path])
    import alignment

    recipes = {name: load_recipe(alignment.RECIPE, changes) for name, changes in alignment.variants().items()}
    assert {"base", "global_only", "every_layer_unmasked", "threshold", "penalties", "hard"} <= set(recipes)
    assert len({recipe.fingerprint for recipe in recipes.values()}) == len(recipes)
    kinds = {
        name: [term["kind"] for term in one.stages[0].objective["terms"]] for name, one in recipes.items()
    }
    assert kinds["base"] == ["contrastive", "local_align", "collapse"]
    assert kinds["hard"] == ["contrastive", "local_align", "margin", "collapse"]


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks" / "studies"), *sys.path])


@pytest.mark.usefixtures("studies")
def test_every_arm_of_the_adaptation_study_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    import _adapt_arms
    import _adapt_tables

    arms = [arm for _, listed in _adapt_arms.questions() for arm in listed]
    found = {arm.name: arm.recipe(tmp_path, seed=2) for arm in arms if arm.stages is not None}
    recipes = {name: recipe for name, recipe in found.items() if isinstance(recipe, Recipe)}
    keys = {name: str(one.model_dump(exclude={"name"})) for name, one in recipes.items()}
    same = ("references_1", "language_connector_300")  # it takes the other's finished stage
    assert keys[same[0]] == keys[same[1]]
    assert len(set(keys.values())) == len(keys) - 1 == len(arms) - 2
    measured = {name for arm in arms for name in arm.names}
    assert {name for pairs in _adapt_tables.COMPARED.values() for pair in pairs for name in pair} <= measured


@pytest.mark.usefixtures("studies")
def test_arms_of_the_adaptation_study_plan_on_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import _adapt_arms
    import _adapt_data

    few = {name: (venue, 3, seed) for name, (venue, _, seed) in _adapt_data.WORLDS.items()}
    monkeypatch.setattr(_adapt_data, "WORLDS", few)
    _adapt_data.prepare(tmp_path)
    arms = {arm.name: arm for _, listed in _adapt_arms.questions() for arm in listed}
    steps = {"home_then_own": 150, "sizes_rising": 60}
    for name, expected in steps.items():
        recipe = arms[name].recipe(tmp_path, seed=0)
        assert recipe is not None
        plan = plan_recipe(outlook(recipe, silent), Means("h100", runs=tmp_path / "runs"))
        assert sum(stage.steps for stage in plan.stages) == expected


@pytest.mark.usefixtures("studies")
def test_a_difference_of_one_seed_or_of_a_few_clips_is_not_told_from_none() -> None:
    from _adapt_tables import crossed_interval

    def runs(right: list[list[int]]) -> dict[int, dict[str, Any]]:
        rows = [
            [[f"q{clip}", f"clip {clip}", "count", {"model": one}, ""] for clip, one in enumerate(seed)]
            for seed in right
        ]
        return {seed: {"sets": {"club": one}} for seed, one in enumerate(rows)}

    wrong = runs([[0] * 20] * 3)
    all_right = crossed_interval(wrong, runs([[1] * 20] * 3), "club")
    one_seed = crossed_interval(wrong, runs([[1] * 20, [0] * 20, [0] * 20]), "club")
    one_clip = crossed_interval(wrong, runs([[1] + [0] * 19] * 3), "club")
    assert all_right is not None
    assert one_seed is not None
    assert one_clip is not None
    assert (all_right.value, all_right.low, all_right.high) == (1, 1, 1)
    assert one_seed.value == pytest.approx(1 / 3)
    assert not one_seed.excludes_zero()
    assert one_clip.value == pytest.approx(1 / 20)
    assert not one_clip.excludes_zero()
    assert crossed_interval(wrong, runs([[1] * 20]), "home") is None


@pytest.mark.usefixtures("studies")
def test_footage_of_the_study_of_labels_shows_less_and_stays_as_long_and_large() -> None:
    from _label_visible import EACH, END_S, FOOTAGE

    film = np.random.default_rng(0).integers(0, 255, (FRAMES, 144, 256, 3), dtype=np.uint8)
    still, coarse, slow = (FOOTAGE[name].change(film) for name in ("unseen", "coarse", "slow"))
    assert {one.shape for one in (still, coarse, slow)} == {film.shape}
    last = int(END_S * FPS)
    assert np.array_equal(still[: last + 1], film[: last + 1])
    assert (still[last:] == film[last]).all()
    assert all(np.array_equal(one, film[at // EACH * EACH]) for at, one in enumerate(slow))
    assert np.abs(np.diff(coarse.astype(int), axis=2)).mean() < 0.1 * np.abs(np.diff(film.astype(int))).mean()


@pytest.mark.usefixtures("studies")
def test_rivals_of_a_claim_differ_from_it_in_a_word_and_are_false() -> None:
    from _label_visible import rivals

    for record in (one.record for one in play(5, range(40), find_venue("home"))):
        truth = true_claims(record)
        for claim in story(record):
            others = rivals(claim, record)
            assert others
            assert not truth & set(others)
            if claim.kind not in ("break", "untouched"):
                assert {one.kind for one in others} == {claim.kind}
                assert all((one.subject == claim.subject) != (one.where == claim.where) for one in others)


@pytest.mark.usefixtures("studies")
def test_tables_keep_what_their_runs_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import _label_tables as tables

    marks = "".join(f"{begin}\nold {name}\n{end}\n" for name, (begin, end) in tables.MARKS.items())
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(marks)
    old = {"found": {"home-20 contradicted": [[1, 1, 1]]}, "slow found": {"contradicted": [[1, 1, 1]] * 3}}
    results.write_text(json.dumps(old))
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr(tables, "RESULTS", results)

    def found(name: str, seed: int) -> None:
        unit = {"kind": "a", "lie": True, "verdict": "unseen", "evidence": 0.1}
        file = tmp_path / "runs" / name / str(seed) / "found.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"units": [unit, {**unit, "lie": False}]}))

    tables.write_tables(tmp_path / "runs")
    assert (page.read_text(), json.loads(results.read_text())) == (marks, old)
    found("coarse", 0)
    found("slow", 0)
    tables.write_tables(tmp_path / "runs")
    written = json.loads(results.read_text())
    assert written["slow found"] == old["slow found"], "of three seeds one is there"
    assert written["found"] == old["found"]
    assert len(written["coarse found"]["contradicted or unseen"]) == 1
    assert "old coarse" not in page.read_text()
    assert all(f"old {name}" in page.read_text() for name in ("lies", "unseen", "slow"))
    found("slow", 1)
    found("slow", 2)
    tables.write_tables(tmp_path / "runs")
    assert "old slow" not in page.read_text()
    assert len(json.loads(results.read_text())["slow found"]["contradicted"]) == 3


@pytest.mark.usefixtures("studies")
def test_every_way_of_the_study_of_diversity_can_be_and_the_best_plain_sampling_is_beaten_by_more() -> None:
    import diversity

    ways = diversity.arms(Path("style.jsonl"))
    for count, way in ways.values():
        way.check(count)
    assert len({way.model_dump_json() for _, way in ways.values()}) == len(ways)
    assert set(diversity.CURVE) < set(ways)
    # coverage and what is untrue of three temperatures and of a way: false of claims, nothing unread
    told, untrue = [0.4, 0.8, 0.2, 0.7], [0.1, 0.3, 0.5, 0.4]
    sums = np.array([[[100 * y, 100, 100 * x, 100, 0, 1, 0, 100] for y, x in zip(told, untrue, strict=True)]])
    assert diversity._beyond(sums, [0, 1, 2], 3)[0] == pytest.approx(0.7 - 0.8), (
        "the warmest was truer and told more"
    )
    sums[0, 3, 2] = 20
    assert diversity._beyond(sums, [0, 1, 2], 3)[0] == pytest.approx(0.7 - 0.6), "between two"
    sums[0, 3, 6] = 20
    assert diversity._beyond(sums, [0, 1, 2], 3)[0] == pytest.approx(0.7 - 0.8), "what is unread is untrue"
