"""The report of an alignment: both curves, terms against chance, warnings, and what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from page_tools import Page

from vidapt.errors import CheckpointError, ConfigError, FormatError
from vidapt.measure.alignment import Alignment, alignment_of, read_alignment
from vidapt.measure.alignment_page import write_alignment

EVIL = "<script>alert(1)<img src=x onerror=alert(1)>"
CURVES = {"in_domain": (0.1, 0.5, 0.4), "general": (0.6, 0.3, 0.2)}
STEPS = (0, 50, 100)


def way(recall: float, rank: float) -> dict[str, float]:
    return {f"recall@{k}": recall for k in (1, 5, 10)} | {"median_rank": 2.0, "mean_rank": rank}


def measured(step: int, **recalls: float) -> dict[str, Any]:
    """A logged step: to text a tenth more than the mean, to clip a tenth less."""
    row: dict[str, Any] = {"step": step}
    for name, recall in recalls.items():
        for direction, by in (("to_text", 0.1), ("to_video", -0.1)):
            row |= {f"{name}/{direction}/{k}": v for k, v in way(recall + by, 4 - recall).items()}
    return row


def term(step: int, value: float, **gauges: float) -> dict[str, Any]:
    row = {"step": step, "loss": value, "contrastive": value, "contrastive/chance": 2.5}
    return row | {f"contrastive/{name}": gauge for name, gauge in gauges.items()}


def rows() -> list[dict[str, Any]]:
    told = [measured(step, **{k: v[i] for k, v in CURVES.items()}) for i, step in enumerate(STEPS)]
    told[1] |= term(50, 2.45, floor=0.5, candidates=8.0, near_chance=20.0) | {"collapse": 0.3}
    told[2] |= term(100, 1.5, floor=0.25, candidates=8.0) | {"collapse": 0.2, "collapse/texts_rank": 3.0}
    return [told[0], term(10, 2.49, floor=1.0, candidates=8.0), *told[1:]]


def write_run(folder: Path, *logs: list[dict[str, Any]]) -> Path:
    (folder).mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"recipe": "abc", "stages": {}}), encoding="utf-8")
    (folder / "recipe.json").write_text(json.dumps({"name": EVIL, "seed": 7, "stages": []}), encoding="utf-8")
    for number, log in enumerate(logs, start=1):
        work = folder / f"0{number}-align" / "work"
        work.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in log)
        (work / "metrics.jsonl").write_text(lines + '{"step": 101, "lo', encoding="utf-8")
    return folder


def page(path: Path, alignment: Alignment) -> tuple[Page, str]:
    write_alignment(path, alignment)
    source = path.read_text(encoding="utf-8")
    return Page(source), source


def swept(**changes: Any) -> dict[str, Any]:
    found = ((0.0, way(0.8, 2.0)), (0.5, way(0.7, 2.0)), (1.0, way(0.2, 2.0)))
    shares = [{"share": share, "general": {"to_text": one, "to_video": one}} for share, one in found]
    told = {"start": "a.pt", "tuned": EVIL, "sets": {"general": {"clips": 5, "texts": 9}}, "shares": shares}
    return told | {"best": {"share": 0.5, "rule": "a rule"}, "broken": []} | changes


def test_both_curves_stand_on_the_page_with_the_best_of_each(tmp_path: Path) -> None:
    run = read_alignment(write_run(tmp_path / "run", rows()))
    shown, source = page(tmp_path / "page.html", run)
    points = {
        kind: [tuple(map(float, pair.split(","))) for pair in found.split()]
        for kind, found in re.findall(r'<polyline class="(first|last)" points="([^"]+)"', source)
    }
    assert points["last"] == [(42.0, 183.0), (337.0, 43.0), (632.0, 78.0)]
    assert points["first"] == [(42.0, 8.0), (337.0, 113.0), (632.0, 148.0)]
    assert '<circle class="dot last" cx="337.0" cy="43.0"' in source
    assert '<circle class="dot first" cx="42.0" cy="8.0"' in source
    assert "in domain 10.0 % at step 0, 40.0 % at step 100, best 50.0 % at step 50" in shown.text
    assert "general 60.0 % at step 0, 20.0 % at step 100, best 60.0 % at step 0" in shown.text
    assert "Recall@1 in its domain rose from 10.0 % to 40.0 %" in shown.text
    assert "Recall@1 on the general set fell from 60.0 % to 20.0 %" in shown.text


def test_the_numbers_are_the_same_as_json(tmp_path: Path) -> None:
    run = read_alignment(write_run(tmp_path / "run", rows()))
    told = json.loads(json.dumps(run.to_dict()))["stages"][0]
    for name, curve in CURVES.items():
        log = told["retrieval"][name]
        assert log["recall@1"]["steps"] == list(STEPS)
        assert log["recall@1"]["values"] == pytest.approx(curve)
        assert log["best"]["recall@1"] == pytest.approx(max(curve))
        assert log["checkpoints"][1]["to_text"]["mean_rank"] == pytest.approx(4 - curve[1])
    contrastive = told["terms"]["contrastive"]
    assert contrastive["value"] == {"steps": [10, 50, 100], "values": [2.49, 2.45, 1.5]}
    assert contrastive["chance"]["values"] == [2.5] * 3
    assert contrastive["gauges"]["floor"]["values"] == [1.0, 0.5, 0.25]
    assert told["terms"]["collapse"]["chance"] is None
    assert list(told["terms"]) == ["contrastive", "collapse"]
    assert run.rows()[1] == ["01-align", "general", "60.0 %", "20.0 %", "60.0 %", "0"]


def test_terms_stand_against_their_chance_level_and_warn(tmp_path: Path) -> None:
    run = read_alignment(write_run(tmp_path / "run", rows()))
    shown, source = page(tmp_path / "page.html", run)
    assert "contrastive: 2.49 at first, 1.5 at last; chance 2.5 (dashed)" in shown.text
    assert '<polyline class="level"' in source
    assert "contrastive: floor: 1 at first, 0.25 at last" in shown.text
    assert "Always the same: contrastive: candidates 8, collapse: texts rank 3" in shown.text
    (warning,) = run.warnings()
    assert warning.endswith("for 20 logged steps in a row, last told of at step 50, and left it then")
    assert f"{warning}." in shown.text
    stuck = [*rows(), {"step": 110, "contrastive/near_chance": 26.0}]
    (warning,) = read_alignment(write_run(tmp_path / "stuck", stuck)).warnings()
    assert warning.endswith(
        "for 26 logged steps in a row, last told of at step 110, and still was at the end"
    )


def test_the_best_is_the_one_that_is_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows())
    kept = run / "01-align" / "best-general"
    kept.mkdir()
    sizes = {"to_text": {"queries": 5, "candidates": 9}}
    (kept / "card.json").write_text(json.dumps({"step": 50, "retrieval": sizes}), encoding="utf-8")
    log = read_alignment(run).stages[0].sets["general"]
    assert log.steps[log.best] == 50
    shown, _ = page(tmp_path / "page.html", read_alignment(run))
    assert "best 30.0 % at step 50 (5 clips, 9 texts)" in shown.text


def test_of_equal_recalls_the_lower_mean_rank_is_the_best(tmp_path: Path) -> None:
    log = [measured(step, general=0.5) for step in (0, 5, 9)]
    log[1]["general/to_video/mean_rank"] = 1.0
    (stage,) = read_alignment(write_run(tmp_path / "run", log)).stages
    assert stage.sets["general"].steps[stage.sets["general"].best] == 5


def test_a_set_that_was_not_measured_is_named(tmp_path: Path) -> None:
    log = [measured(0, in_domain=0.2), measured(9, in_domain=0.2)]
    shown, _ = page(tmp_path / "page.html", read_alignment(write_run(tmp_path / "run", log)))
    assert "Retrieval was not measured on this set: general." in shown.text
    assert "Recall@1 in its domain is 20.0 % before and after." in shown.text


def test_several_stages_are_told_of_from_first_to_last(tmp_path: Path) -> None:
    second = [measured(0, general=0.2), measured(30, general=0.7)]
    run = read_alignment(write_run(tmp_path / "run", rows(), [{"step": 1, "loss": 2.0}], second))
    assert [stage.name for stage in run.stages] == ["01-align", "03-align"]
    shown, _ = page(tmp_path / "page.html", run)
    assert "general set rose from 60.0 % to 70.0 %" in shown.text
    assert "recall@1; best 70.0 % at step 30" in shown.text


def test_a_sweep_is_drawn_with_and_without_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows())
    (run / "interpolation.json").write_text(json.dumps(swept()), encoding="utf-8")
    both, _ = page(tmp_path / "a.html", read_alignment(run))
    alone, source = page(tmp_path / "b.html", alignment_of(None, swept()))
    for shown in (both, alone):
        assert "general 80.0 % at share 0, 20.0 % at 1 (5 clips, 9 texts)" in shown.text
        assert "Marked: share 0.5, best by a rule." in shown.text
        assert "that of share 0.5 is best over all sets" in shown.text
    assert "Stage 01-align" in both.text
    assert "Stage" not in alone.text
    assert '<circle class="dot first" cx="337.0"' in source


def test_the_page_trusts_no_name_and_loads_nothing(tmp_path: Path) -> None:
    log = [row | {EVIL: 1.0} for row in rows()]
    run = write_run(tmp_path / "run", log)
    broken = [{"path": EVIL, "reason": EVIL}]
    shown, source = page(tmp_path / "page.html", alignment_of(run, swept(broken=broken)))
    assert "<script" not in source
    assert not shown.named("img")
    assert shown.text.count("alert(1)") > 5
    assert "http" not in source.replace("http-equiv", "")
    assert all(cell.get("scope") for cell in shown.named("th"))
    assert all(one.get("aria-label") or one.get("aria-hidden") for one in shown.named("svg"))


def test_what_is_no_alignment_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no run\.json"):
        read_alignment(tmp_path)
    other = write_run(tmp_path / "run", [{"step": 1, "loss": 2.0}])
    with pytest.raises(ConfigError, match=r"none of its 1 stages' logs holds `in_domain/\.\.\.`"):
        read_alignment(other)
    with pytest.raises(ConfigError, match="nothing to draw"):
        write_alignment(tmp_path / "page.html", alignment_of(None, None))
    log = other / "01-align" / "work" / "metrics.jsonl"
    log.write_text('{"loss": 1}\n{"step": 2}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=r"metrics\.jsonl:1"):
        read_alignment(other)


def test_a_run_no_folder_can_be_named_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give a run's folder"):
        read_alignment(tmp_path / ("n" * 300))
