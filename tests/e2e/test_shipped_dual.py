"""The dual encoder that ships: it tells the simulated venue's statements apart, looks, and begins a stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.loading import shipped
from vidapt.recipe import load_recipe
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

RUN = CliRunner()
RECIPE = Path(__file__).parents[2] / "recipes" / "align_billiards.yaml"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    for venue, name in (("club", "club"), ("home", "home-test")):
        simulate(folder / name, clips=24, venue=venue, seed=77, statements=4, workers=1)
    return folder


def test_it_is_shipped() -> None:
    assert {"billiards-clip", "billiards-home"} <= set(shipped())


def test_it_prefers_what_is_true_of_its_venue(pool: Path) -> None:
    options = ["--data", str(pool / "home-test"), "--model", "billiards-clip", "--retrieval", "--json"]
    shown = RUN.invoke(app, ["match", *options])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["kinds"]["colour"]["wins"]["value"] > 0.7
    assert found["retrieval"]["to_text"]["recall@10"] > 2 * 10 / 24


def test_it_begins_the_recipe_that_adapts_it(pool: Path, tmp_path: Path) -> None:
    club, home = pool / "club" / "labels.jsonl", pool / "home-test" / "labels.jsonl"
    place = "stages.0"
    changes = [f"{place}.steps=2", f"{place}.save_every=1", f"{place}.batching.clips=4"]
    changes += [f"{place}.data.0.path={club}", f"{place}.retrieval.in_domain.0.path={club}"]
    changes += [f"{place}.retrieval.in_domain.0.skip=12", f"{place}.retrieval.general.0.path={home}"]
    recipe = load_recipe(RECIPE, changes)
    run = train(recipe, tmp_path, lambda *told: None, workers=0)
    log = (run / "01-align" / "work" / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in log.splitlines()]
    assert rows[0]["general/to_text/mean_rank"] / 24 < rows[0]["in_domain/to_text/mean_rank"] / 12
    assert {"contrastive/chance", "local_align/chance", "margin/wins"} <= set(rows[-1])
    clip = str(pool / "club" / "clips" / "000000.mp4")
    out = tmp_path / "look.png"
    options = ["--word", "white", "--model", "billiards-clip", "--model", str(run), "--out", str(out)]
    shown = RUN.invoke(app, ["look", clip, *options])
    assert shown.exit_code == 0, shown.output
    assert out.stat().st_size > 1000
