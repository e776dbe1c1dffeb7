"""The studies' variants are recipes, each of which changes something, and can be planned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from vidapt.planning.plan import Means, plan_recipe
from vidapt.progress import silent
from vidapt.recipe import Recipe, load_recipe
from vidapt.training.outlook import outlook

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
