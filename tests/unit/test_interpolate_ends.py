"""What interpolation takes to stand between which models."""

from __future__ import annotations

from pathlib import Path

from vidapt.loading import RUN
from vidapt.recipe import load_recipe
from vidapt.training.align.ends import ends_of
from vidapt.training.state import RECIPE

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_of_a_language_model_knows_its_kind_and_its_start(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes" / "my-clips.yaml")
    (tmp_path / RECIPE).write_text(recipe.model_dump_json(), encoding="utf-8")
    (tmp_path / RUN).write_text("{}", encoding="utf-8")
    ends = ends_of([str(tmp_path)])
    assert ends.talk
    assert ends.start == recipe.start
