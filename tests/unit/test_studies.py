"""The study's variants are recipes, each of which changes something."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vidapt.recipe import load_recipe

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
