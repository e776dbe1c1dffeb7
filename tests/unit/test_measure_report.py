"""The report: it says what the numbers say, carries everything, and trusts no label."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from measure_tools import Decoding, FakeEngine, colour_judge, pool, sample, truth
from page_tools import Page
from PIL import Image

from vidapt.errors import ConfigError, FormatError
from vidapt.measure.charts import Point, scale
from vidapt.measure.curves import curve
from vidapt.measure.evaluate import evaluate
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.footage import show
from vidapt.measure.report import write_report
from vidapt.measure.sections import signed_percent
from vidapt.measure.stories import stories
from vidapt.nouns import Clip
from vidapt.video import write_mp4

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def blind(clip: str | None, question: str) -> str:
    return truth(None, question)


def run(out: Path, rule: object = truth, samples: object = None, judge: object = colour_judge) -> Evaluation:
    engine = FakeEngine(rule)  # type: ignore[arg-type]
    return evaluate(engine, samples or pool(8), out=out, decoding=Decoding(), judge=judge)  # type: ignore[arg-type]


def test_before_and_after_with_everything_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    before, after = run(tmp_path / "a", blind), run(tmp_path / "b")
    write_report(path, {"before": before, "after": after}, notes=["one & all"], commands=["vidapt demo"])
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert "Accuracy rose from 37.5 % (before) to 100.0 % (after): +62.5 points, 95 % interval +" in page.text
    assert "with the clip it answers better than without (+62.5 points" in page.text
    assert "false claims fell from 75.0 % to 0.0 %" in page.text
    assert "one & all" in page.text
    assert "vidapt demo" in page.text
    assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?!data:)\w+:""", source)
    assert "http://" not in source
    assert "https://" not in source
    assert not page.named("script")
    assert not page.named("link")
    assert all(cell.get("scope") in ("col", "row") for cell in page.named("th"))
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") for drawing in page.named("svg"))
    assert [t for t in page.words if t == "red moves."]
    assert any(cell.get("class") == "gain" for cell in page.named("td"))


def test_a_gain_that_needs_no_clip_is_told_as_one(tmp_path: Path) -> None:
    before = run(tmp_path / "a", lambda clip, question: "nonsense")
    write_report(tmp_path / "report.html", {"before": before, "after": run(tmp_path / "b", blind)})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Accuracy rose" in page.text
    assert "with the clip it does not answer measurably better than without (+0.0 points" in page.text
    assert "answers better than without" not in page.text


def test_nothing_is_never_minus_nothing() -> None:
    assert [signed_percent(share) for share in (-1e-9, 0.0, -0.0006, 0.125)] == [
        "+0.0",
        "+0.0",
        "−0.1",
        "+12.5",
    ]


def test_sentences_are_marked_by_what_the_log_says(tmp_path: Path) -> None:
    def told(clip: str | None, question: str) -> str:
        return "red moves. green moves. it rains." if question == "what happens?" else truth(clip, question)

    write_report(tmp_path / "report.html", {"it": run(tmp_path / "a", told)}, clips=["c00"])
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<span class="true">red moves.<span class="hidden"> (true)</span></span>' in source
    assert '<s class="false">green moves.<span class="hidden"> (false)</span></s>' in source
    assert '<span class="unread">it rains.' in source


def test_one_model_without_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, {"after": run(tmp_path / "a")})
    page = Page(path.read_text(encoding="utf-8"))
    assert "The model answers 100.0 % rightly (95 % interval 63.1 to 100.0), against 37.5 %" in page.text
    assert "change" not in page.words


def test_no_measurable_change_is_called_that(tmp_path: Path) -> None:
    one = run(tmp_path / "a")
    write_report(tmp_path / "report.html", {"before": one, "after": one})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Accuracy is not measurably different" in page.text
    assert "share of false claims did not measurably change" in page.text


def test_texts_without_a_log_say_that_false_claims_were_not_counted(tmp_path: Path) -> None:
    write_report(
        tmp_path / "report.html",
        {"before": run(tmp_path / "a", blind, judge=None), "after": run(tmp_path / "b", judge=None)},
    )
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "False claims could not be counted" in page.text
    assert "overlap with the reference texts (ROUGE-L) rose" in page.text
    assert "story: word F1" in page.text


def test_labels_and_answers_are_escaped_everywhere(tmp_path: Path) -> None:
    samples = [
        sample(EVIL, EVIL, EVIL, EVIL, accept=[EVIL]),
        sample(EVIL, EVIL + "2", EVIL, EVIL, value="text"),
    ]
    result = run(tmp_path / "a", lambda clip, question: EVIL + "\ud800", samples, judge=None)
    path = tmp_path / "report.html"
    write_report(path, {EVIL: result, EVIL + "2": result}, title=EVIL, notes=[EVIL], commands=[EVIL])
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert "<script" not in source
    assert not page.named("img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("alert(1)") > 10


def test_the_page_forbids_itself_scripts_and_the_network(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", {"it": run(tmp_path / "a")})
    (policy,) = [
        m["content"]
        for m in Page((tmp_path / "r.html").read_text()).named("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_training_curves_and_the_run_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    work = folder / "01-speak" / "work"
    work.mkdir(parents=True)
    rows = [{"step": step, "loss": 8.0 / step} for step in range(1, 40)]
    log = work / "metrics.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 40, "lo')
    (folder / "recipe.json").write_text(
        json.dumps({"name": "pool", "seed": 7, "stages": [{"objective": {"kind": "track_state"}}]})
    )
    (folder / "run.json").write_text(json.dumps({"recipe": "abc", "stages": {"01-speak": {"loss": 0.21}}}))
    write_report(tmp_path / "r.html", {"it": run(tmp_path / "a")}, run=folder)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "01-speak: loss 8 at step 1, 0.205 at step 39" in page.text
    assert "pool, recipe abc, seed 7" in page.text
    assert "learned from the simulator's own state" in page.text
    log.write_text('{"step": 1}\n{"step": 2, "loss": 1}\n')
    with pytest.raises(FormatError, match=r"metrics\.jsonl:1"):
        write_report(tmp_path / "r.html", {"it": run(tmp_path / "a")}, run=folder)


def test_reports_of_nothing_or_of_unknown_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs an evaluation"):
        write_report(tmp_path / "r.html", {})
    with pytest.raises(ConfigError, match="no verdicts on the clips nowhere"):
        write_report(tmp_path / "r.html", {"it": run(tmp_path / "a")}, clips=["nowhere"])


def test_clips_are_spread_over_the_data_whatever_the_answers(tmp_path: Path) -> None:
    one = run(tmp_path / "a")
    assert [story.clip for story in stories({"it": one}, 2)] == ["c02", "c06"]
    assert len(stories({"it": one}, 99)) == 8
    assert stories({"it": one}, 0) == []


def movie(path: Path, frames: int = 30, size: tuple[int, int] = (48, 64)) -> Clip:
    rng = np.random.default_rng(0)
    write_mp4(path, rng.integers(0, 255, (frames, *size, 3), dtype=np.uint8), 10)
    return Clip(path.stem, path)


def test_a_small_h264_file_is_carried_as_it_is(tmp_path: Path) -> None:
    clip = movie(tmp_path / "a.mp4")
    shown = show(clip, 1 << 20)
    head, _, data = shown.video.partition(",")
    assert head == "data:video/mp4;base64"
    assert base64.b64decode(data) == clip.path.read_bytes()
    assert shown.poster.startswith("data:image/jpeg;base64,")
    assert (shown.width, shown.height, shown.note) == (64, 48, "")


def test_a_segment_becomes_a_preview_and_too_large_a_clip_a_picture(tmp_path: Path) -> None:
    whole = movie(tmp_path / "a.mp4")
    preview = show(Clip("s", whole.path, 1.0, 2.0), 1 << 20)
    assert preview.video.startswith("data:video/mp4;base64,")
    assert "preview of 24 frames" in preview.note
    large = show(whole, 1000)
    assert large.video == ""
    assert large.poster
    assert "too large" in large.note


def test_stills_are_pictures_and_missing_files_are_said_to_be_missing(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    still = show(Clip("a", tmp_path / "a.png"), 1 << 20)
    assert (still.video, still.width, still.note) == ("", 40, "")
    assert still.poster
    gone = show(Clip("b", tmp_path / "b.mp4"), 1 << 20)
    assert (gone.video, gone.poster) == ("", "")
    assert gone.note.startswith("This clip cannot be shown: ")


def test_marks_stand_where_their_numbers_are() -> None:
    drawn = scale([Point("last", 'a"<b', 0.5, 0.25, 1.0), Point("majority", "m", 0.0, 0.0, 0.0)])
    assert 'cx="130.0"' in drawn
    assert 'x1="71.0" x2="248.0"' in drawn
    assert 'class="majority" x1="12.0"' in drawn
    assert "a&#34;&lt;b 50 % (25 to 100)" in drawn


def test_wide_curves_are_drawn_on_a_logarithmic_scale() -> None:
    def heights(values: list[float]) -> list[float]:
        points = re.search(r'class="raw" points="([^"]+)"', curve([0, 1, 2], values, "c"))
        assert points is not None
        return [float(pair.split(",")[1]) for pair in points.group(1).split()]

    assert heights([100.0, 10.0, 1.0]) == [8.0, 68.0, 128.0]
    assert heights([3.0, 2.0, 1.0]) == [8.0, 68.0, 128.0]
    assert heights([1.0, 0.5, -8.0]) == pytest.approx([8.0, 14.7, 128.0])
    assert heights([1.0, 1.0, 1.0]) == [128.0] * 3
