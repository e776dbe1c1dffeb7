"""Models are put in order by what they see, a failing one costs its row, and nothing is probed twice."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_tools import tokenizer, video_lm, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError, VidaptError
from vidapt.measure.shortlist import job, probe
from vidapt.measure.shortlist.found import Answered, Compared, Probe, Shortlist, in_order
from vidapt.measure.shortlist.job import shortlist
from vidapt.measure.shortlist.page import write_shortlist
from vidapt.measure.shortlist.probe import Wanted, spread
from vidapt.metrics.intervals import Interval
from vidapt.models.folder import save_model

SEEING = Probe(
    model="seeing",
    kind="language",
    parameters=2_000_000,
    load_s=1.0,
    peak_gb=0.5,
    clip_s=0.2,
    answer_s=0.4,
    tokens=100,
    answered=Answered(20, Interval(0.8, 0.7, 0.9), Interval(0.3, 0.2, 0.4)),
    compared=Compared(40, Interval(0.9, 0.8, 1.0), 0.5, 8),
    captions={"a": "<b>a red ball</b>"},
)
GUESSING = replace(
    SEEING,
    model="guessing",
    answered=Answered(20, Interval(0.8, 0.7, 0.9), Interval(0.78, 0.7, 0.9)),
    compared=Compared(40, Interval(0.5, 0.4, 0.6), 1 / 8, 8),
)
TOWER = replace(SEEING, model="tower", kind="dual", answered=None, answer_s=None, tokens=None, captions={})


def test_who_answers_as_well_without_looking_sees_nothing() -> None:
    assert SEEING.score == pytest.approx(((0.8 - 0.3) / 0.7 + 0.8 + (0.5 - 1 / 8) / (7 / 8)) / 3)
    assert GUESSING.score == pytest.approx((0.02 / 0.22) / 3)
    assert [one.model for one in in_order([TOWER, GUESSING, SEEING])] == ["seeing", "guessing", "tower"]
    mute = replace(SEEING, answered=None, compared=None)
    assert mute.score == -1
    sure = replace(SEEING, answered=Answered(3, Interval(1, 1, 1), Interval(1, 1, 1)), compared=None)
    assert sure.score == 0


def test_json_comes_back_whole() -> None:
    for one in (SEEING, TOWER, replace(SEEING, compared=Compared(0, None, None, 1), why_not=("no",))):
        assert Probe.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_the_page_shows_texts_as_texts(tmp_path: Path) -> None:
    found = Shortlist([SEEING, GUESSING, TOWER], [job.Failed("gone", "no <model>")], {}, 8)
    write_shortlist(tmp_path / "report.html", found)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;a red ball&lt;/b&gt;" in page
    assert "no &lt;model&gt;" in page
    assert found.verdict() == "seeing sees most of these clips."
    assert [row[0] for row in found.rows()] == ["seeing", "guessing", "tower"]


def test_evenly_spread() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread("ab", 5) == ["a", "b"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions and captions of four clips, and a model beside them."""
    folder = tmp_path_factory.mktemp("shortlist")
    path = write_clips(folder / "clips", clips=4, questions=2)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    videos = dict.fromkeys(row["video"] for row in rows)
    captions = [
        {"id": f"c{n}", "video": video, "question": "describe the video.", "answer": f"{word} is left."}
        for n, (video, word) in enumerate(zip(videos, ("red", "blue", "red ball", "green"), strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *captions)))
    save_model(folder / "model", video_lm(), tokenizer(), {})
    return path


def test_a_model_is_probed_in_its_own_process_and_only_once(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(labels.parents[1] / "model")
    args = ["shortlist", model, "--data", str(labels), "--out", str(tmp_path), "--workers", "0"]
    done = CliRunner().invoke(app, [*args, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "shortlist.json").read_text())
    (one,) = found["models"]
    assert one["answered"]["questions"] == 12  # captions of a few words are answers, too
    assert one["compared"]["among"] == 4
    assert one["peak_gb"] > 0.05
    assert len(one["captions"]) == 4
    assert found["failed"] == []
    run, started = subprocess.run, []
    monkeypatch.setattr(job.subprocess, "run", lambda *a, **k: started.append(a[0]) or run(*a, **k))
    wanted = Wanted("", str(labels), "", workers=0)
    again = shortlist([model], wanted, tmp_path)
    assert started == []
    assert again.probes[0].to_json() == {k: v for k, v in one.items() if k != "score"}


def test_what_is_no_model_costs_its_row(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        probe.main(*map(Path, command[-2:]))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(job.subprocess, "run", here)
    told: list[tuple[int, int]] = []
    model = str(labels.parents[1] / "model")
    wanted = Wanted("", str(labels), "", workers=0)
    found = shortlist(
        [model, "nowhere"], wanted, tmp_path, lambda _, done, total, note="": told.append((done, total))
    )
    assert [one.model for one in found.probes] == [model]
    assert [one.model for one in found.failed] == ["nowhere"]
    assert "no such model" in found.failed[0].reason
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("code", "said"), [(-9, "signal 9 (out of memory, most likely)"), (1, "Boom: no such thing")]
)
def test_a_process_that_dies_costs_its_row(
    code: int, said: str, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        if "good" not in command[-1]:
            return subprocess.CompletedProcess(command, code, b"", b"Traceback\nBoom: no such thing\n")
        Path(command[-1]).write_text(json.dumps(replace(SEEING, model="good", answered=None).to_json()))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(job.subprocess, "run", dying)
    wanted = Wanted("", str(labels), "", workers=0)
    found = shortlist(["bad", "good"], wanted, tmp_path)
    assert [one.model for one in found.probes] == ["good"]
    assert said in found.failed[0].reason
    with pytest.raises(VidaptError, match="no model could be probed"):
        shortlist(["bad"], wanted, tmp_path)
    with pytest.raises(ConfigError, match="given twice"):
        shortlist(["bad", "bad"], wanted, tmp_path)
