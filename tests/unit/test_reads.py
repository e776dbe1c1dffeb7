"""A model that is adapted may read clips otherwise than it did, and keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from training_tools import recipe, silent, stage, tokenizer, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.models.folder import open_folder, save_model
from vidapt.models.packed import Words, spell
from vidapt.nouns import Moments
from vidapt.recipe import Reads, Recipe, TimeText, load_recipe
from vidapt.training.align.aligning import Aligning
from vidapt.training.run import train

LETTERS = tokenizer()
TIMES = {"video": TimeText(before="<{seconds:.1f}>")}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "model"
    save_model(
        folder, video_lm(times={"image": {"intro": "["}}, language={"vocab_size": len(LETTERS)}), LETTERS, {}
    )
    return folder


def adapted(start: Path, labels: Path, **reads: Any) -> Recipe:
    return recipe(stage(labels), blueprint=None, start=str(start), reads=reads)


def test_a_run_reads_as_its_recipe_says(start: Path, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    asked = {"frames": {"policy": "uniform", "count": 2}, "times": "<{seconds:.1f}>"}
    run = train(adapted(start, labels, **asked), tmp_path / "runs", silent, workers=0)
    model, _ = open_folder(sorted(run.glob("*-*/model"))[-1])
    assert model.blueprint.times == {**TIMES, "image": TimeText(intro="[")}
    assert model.blueprint.frames.count == 2  # type: ignore[union-attr]
    layout = model.plan((16, 16), 2)[1]
    texts = [
        piece for piece in spell(layout, 0, LETTERS, Moments((0.5, 1.0), 2.0)) if isinstance(piece, Words)
    ]
    assert len(texts) == 2


def test_positions_have_to_fit_the_language_model(start: Path) -> None:
    model, _ = open_folder(start)
    model.read_otherwise(Reads(positions={"kind": "rope1d", "factor": 2.0}))
    assert model.positions.cfg.factor == 2.0
    with pytest.raises(ConfigError, match="have axes: 3; the language model's: 1"):
        model.read_otherwise(Reads(positions={"kind": "mrope"}))


def test_it_goes_with_a_start_and_says_something(start: Path, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1, questions=1)
    with pytest.raises(ValidationError, match="changes nothing"):
        adapted(start, labels)
    with pytest.raises(ValidationError, match="goes with `start`"):
        recipe(stage(labels), reads={"times": "{seconds:.1f}"})
    plain = recipe(stage(labels), blueprint=None, start=str(start))
    assert "reads" not in json.loads(plain.to_json()) or json.loads(plain.to_json())["reads"] is None
    assert plain.fingerprint != adapted(start, labels, times="{seconds:.1f}").fingerprint


def test_a_dual_encoder_reads_no_text_about_clips(start: Path, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1, questions=1)
    asked = adapted(start, labels, times="{seconds:.1f}")
    with pytest.raises(ConfigError, match="for models that speak"):
        Aligning().planned(asked)


def test_a_stage_of_finer_views_begins_with_a_run_of_coarser_ones(start: Path, tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    framed = {"kind": "framed", "fit": "squash", "newline": "frame"}
    first = adapted(start, labels, resolution=framed)
    coarse = train(first.model_copy(update={"name": "one"}), tmp_path / "runs", silent, workers=0)
    model, _ = open_folder(sorted(coarse.glob("*-*/model"))[-1])
    assert model.blueprint.resolution == framed
    learned = model.resolution.newline.detach().clone()

    model.read_otherwise(Reads(resolution={**framed, "pool": "average"}, scenes={"image": {"kind": "whole"}}))
    assert model.resolution.newline.equal(learned)  # what was learned stays
    assert model.blueprint.scenes == {"image": {"kind": "whole"}}
    assert [_visual(model, frames) for frames in (3, 1)] == [3 * (2 * 2 + 1), 4 * 4]
    with pytest.raises(ConfigError, match="does not go with these towers"):
        model.read_otherwise(Reads(resolution={"kind": "two_scale", "fine": 32}))


def _visual(model: Any, frames: int) -> int:
    """Visual tokens of a clip."""
    spans = [piece for piece in model.plan((24, 32), frames)[1] if isinstance(piece, tuple)]
    return sum(grid.cells + extra for grid, extra in spans)


def test_what_is_read_otherwise_is_checked_before_work(start: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"name: a\nstart: {start}\ndata: {write_clips(tmp_path / 'clips')}\n"
        "reads: {resolution: {kind: framed, pol: average}, scenes: {video: {kind: hole}}}\n"
        "stages: [{name: a, steps: 1}]\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"(?s)reads\.resolution\.pol.*reads\.scenes\.video"):
        load_recipe(file)
