"""Language models between a start and what was made of it: asked, chosen, written, drawn."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tools import assert_equal, recipe, silent, stage, train, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError
from vidapt.loading import open_model
from vidapt.models.adapters import merged_model
from vidapt.models.folder import read_card
from vidapt.training.align.ends import ends_of
from vidapt.training.align.interpolate import interpolated
from vidapt.training.sweep.answers import Answers
from vidapt.training.sweep.swept import sweep as measure

sweep = partial(measure, Answers())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `first`, made from nothing, and `second`, which gave it adapters; both measured on two sets."""
    folder = tmp_path_factory.mktemp("talk")
    here, there = write_clips(folder / "here"), write_clips(folder / "there", clips=2)
    learned = {
        "measure": {"in_domain": str(here), "general": str(there)},
        "measure_questions": 5,
        "save_every": 10,
    }
    first = train(recipe(stage(there, steps=20, **learned), name="first"), folder, silent, workers=0)
    small = {"towers": "frozen", "language": "lora"}
    plan = recipe(
        stage(here, steps=20, train=small, **learned), blueprint=None, start=str(first), name="second"
    )
    train(plan, folder, silent, workers=0)
    return folder


def test_both_ends_are_what_training_logged_first_and_last(runs: Path) -> None:
    swept = sweep(ends_of([str(runs / "second")]), (0.0, 0.5, 1.0), {}, workers=0, report=silent)
    log = (runs / "second" / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for share, line in ((0.0, log[0]), (1.0, log[-1])):
        row = json.loads(line)
        for name in ("in_domain", "general"):
            assert swept.found[share][name].marks.loss == pytest.approx(row[f"measure/{name}/loss"], abs=1e-4)
            assert swept.found[share][name].marks.accuracy == pytest.approx(
                row[f"measure/{name}/accuracy"], abs=1e-6
            )
    assert swept.sizes["in_domain"]["questions"] == 5
    assert swept.found[0.5]["in_domain"].marks.loss != swept.found[1.0]["in_domain"].marks.loss


def test_the_command_writes_the_best_and_draws_both_curves(runs: Path, tmp_path: Path) -> None:
    args = ["interpolate", str(runs / "second"), "--sweep", "0,0.5,1", "--out", str(tmp_path / "best")]
    done = CliRunner().invoke(app, [*args, "--workers", "0", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    kept = json.loads((runs / "second" / "interpolation.json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in kept} == kept
    sums = {
        one["share"]: (
            sum(one[name]["accuracy"] for name in kept["sets"]),
            -sum(one[name]["loss"] for name in kept["sets"]),
        )
        for one in kept["shares"]
    }
    assert sums[kept["best"]["share"]] == max(sums.values())
    assert read_card(tmp_path / "best")["share"] == kept["best"]["share"]
    between, _ = open_model(tmp_path / "best")
    first, second, _ = ends_of([str(runs / "second")]).open()
    assert_equal(between.state_dict(), interpolated(first, second, kept["best"]["share"]).state_dict())
    page = (runs / "second" / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 7  # five numbers of the sets, the sweep, the loss of training
    done = CliRunner().invoke(app, ["report", str(runs / "second")])
    assert done.exit_code == 0, done.output
    assert "general" in done.output


def test_a_share_of_a_run_with_adapters_is_that_of_what_they_add(runs: Path, tmp_path: Path) -> None:
    args = ["interpolate", str(runs / "second"), "--share", "1", "--out", str(tmp_path / "whole")]
    assert CliRunner().invoke(app, args).exit_code == 0
    whole, words = open_model(tmp_path / "whole")
    assert_equal(whole.state_dict(), merged_model(open_model(runs / "second")[0], words).state_dict())
    start, _ = open_model(runs / "first")
    first, *_ = ends_of([str(runs / "second")]).open()
    assert_equal(first.state_dict(), start.state_dict())


def test_a_kept_best_model_can_be_the_end(runs: Path, tmp_path: Path) -> None:
    args = ["interpolate", str(runs / "second" / "01-a" / "best-general"), "--out", str(tmp_path / "half")]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert all(torch.isfinite(weight).all() for weight in open_model(tmp_path / "half")[0].parameters())


def test_what_cannot_be_interpolated_is_refused(runs: Path) -> None:
    def said(*models: str, **options: Any) -> None:
        sweep(ends_of(list(models)), (0.5,), {}, workers=0, report=silent, **options)

    with pytest.raises(ConfigError, match="was made from nothing"):
        said(str(runs / "first"))
    with pytest.raises(CheckpointError, match="the models differ"):
        said("billiards-home", str(runs / "second"))
    with pytest.raises(CheckpointError, match="exists"):
        said(str(runs / "second"), out=runs)
    with pytest.raises(ConfigError, match="measured on no sets"):
        said(str(runs / "first" / "01-a" / "model"), str(runs / "copy"))
