"""`vidapt interpolate` and `vidapt report` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from align_tools import recipe, silent, stage, train, write_captioned
from page_tools import Page
from training_tools import assert_equal
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import open_dual_encoder
from vidapt.loading import locate_dual

RUN = CliRunner()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `first`, made from nothing, and `second`, tuned from it; and `mute`, which measured nothing."""
    folder = tmp_path_factory.mktemp("commands")
    labels = write_captioned(folder / "clips", clips=4)
    sets = {"in_domain": str(labels), "general": str(labels)}
    first = train(recipe(stage(labels, steps=2, retrieval=sets), name="first"), folder, silent, workers=0)
    terms = [{"kind": "contrastive"}, {"kind": "collapse"}]
    learned = stage(labels, steps=10, retrieval=sets, objective={"kind": "align", "terms": terms})
    train(recipe(learned, dual=None, start=str(first), name="second"), folder, silent, workers=0)
    train(recipe(stage(labels, steps=1), name="mute"), folder, silent, workers=0)
    return folder


def said(*words: object) -> str:
    shown = RUN.invoke(app, [str(word) for word in words])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def refused(*words: object) -> str:
    shown = RUN.invoke(app, [str(word) for word in words])
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    return shown.output


def told(*words: object) -> dict[str, Any]:
    found = json.loads(said(*words, "--json"))
    assert isinstance(found, dict)
    return found


def test_a_run_alone_is_drawn_back_half_way(runs: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "half") in said("interpolate", runs / "second", "--out", tmp_path / "half")
    named = ["interpolate", runs / "first", runs / "second", "--out"]
    assert told(*named, tmp_path / "quarter", "--share", 0.25)["share"] == 0.25
    ends = [open_dual_encoder(locate_dual(runs / run))[0].state_dict() for run in ("first", "second")]
    for name, share in (("half", 0.5), ("quarter", 0.25)):
        wanted = {k: (1 - share) * v + share * ends[1][k] for k, v in ends[0].items()}
        assert_equal(open_dual_encoder(tmp_path / name)[0].state_dict(), wanted)


def test_a_sweep_measures_prints_writes_and_draws(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "best"
    found = told("interpolate", runs / "second", "--sweep", "0,0.5,1", "--out", out, "--workers", 0)
    assert [row["share"] for row in found["shares"]] == [0, 0.5, 1]
    assert {"in_domain", "general"} <= found["shares"][0].keys()
    assert found["page"] == str(runs / "second" / "report.html")
    assert json.loads((out / "card.json").read_text(encoding="utf-8"))["share"] == found["best"]["share"]
    shown = Page((runs / "second" / "report.html").read_text(encoding="utf-8"))
    assert "Between the start and the tuned model" in shown.text
    assert "Stage 01-a" in shown.text
    assert told("report", runs / "second")["sweep"]["shares"] == found["shares"]


def test_a_sweep_of_labels_of_ones_own_needs_no_run(runs: Path, tmp_path: Path) -> None:
    said("interpolate", runs / "second", "--out", tmp_path / "half")
    words = ["interpolate", runs / "first", tmp_path / "half", "--sweep", "0,1", "--workers", 0]
    words += ["--general", runs / "clips" / "labels.jsonl", "--limit", 3]
    output = said(*words, "--page", tmp_path / "page.html")
    assert "text to clip" in output
    assert "best share: " in output
    assert "(3 clips, 6 texts)" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert told(*words)["page"] is None


def test_a_report_shows_what_the_run_logged(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert str(page) in said("report", runs / "second", "--out", page)
    found = told("report", runs / "second")
    log = (runs / "second" / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [row for row in map(json.loads, log) if "general/to_text/recall@1" in row]
    text = Page(page.read_text(encoding="utf-8")).text
    for name, words in (("in_domain", "in domain"), ("general", "general")):
        told_of = found["stages"][0]["retrieval"][name]
        curve = [
            sum(row[f"{name}/{way}/recall@1"] for way in ("to_text", "to_video")) / 2 for row in measured
        ]
        assert told_of["recall@1"] == {"steps": [row["step"] for row in measured], "values": curve}
        card = json.loads((runs / "second" / "01-a" / f"best-{name}" / "card.json").read_text("utf-8"))
        assert told_of["best"]["step"] == card["step"]
        assert told_of["best"]["recall@1"] == max(curve)
        assert f"{words} {100 * curve[0]:.1f} % at step 0, {100 * curve[-1]:.1f} % at step 10" in text
    assert "collapse: patches rank" in text


def test_what_cannot_be_done_is_said_plainly(runs: Path, tmp_path: Path) -> None:
    second, labels = runs / "second", runs / "clips" / "labels.jsonl"
    assert "was made from nothing" in refused("interpolate", runs / "first", "--sweep", "0,1")
    assert "there is nothing to do" in refused("interpolate", second)
    assert "is no list of numbers" in refused("interpolate", second, "--sweep", "0;1")
    assert "exclude one another" in refused("interpolate", second, "--sweep", "0,1", "--share", 0.5)
    assert "not from 0 to 1" in refused("interpolate", second, "--out", tmp_path / "x", "--share", 2)
    assert "are about --in-domain" in refused("interpolate", second, "--sweep", "0,1", "--limit", 2)
    assert "is not there" in refused("interpolate", second, "--sweep", "0,1", "--general", tmp_path / "n")
    assert "exists" in refused("interpolate", second, "--out", tmp_path)
    mute = ["interpolate", second, runs / "mute", "--sweep", "0,1", "--workers", 0]
    assert "nothing to measure on" in refused(*mute)
    assert said(*mute, "--general", labels)
    assert "no retrieval was measured" in refused("report", runs / "mute")
    assert "holds no run.json" in refused("report", tmp_path)
